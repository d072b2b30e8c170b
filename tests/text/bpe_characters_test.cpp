// Models of characters against the method's definition.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>

#include "pieces/space_mark.h"
#include "text/bpe.h"
#include "text_test_util.h"

namespace gavel {
namespace {

const std::vector<std::string> kCharacters = {"a", "b", " ", " ", "é", "的", "百", "😀", "<", "\n"};

struct Vocabulary {
  std::vector<std::string> tokens;  // as texts hold them, with ' '
  std::map<std::string, int> ids;
  std::map<std::pair<int, int>, std::pair<int, int>> merges;  // ids to rank and id
  std::vector<std::pair<int, int>> order;
  int unk = -1;
  bool fuse = false, byte_fallback = false, ignore_merges = false;

  int add(const std::string& token) {
    auto [it, fresh] = ids.try_emplace(token, static_cast<int>(tokens.size()));
    if (fresh) tokens.push_back(token);
    return it->second;
  }
};

std::string byte_token(uint8_t byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", byte);
  return name;
}

Vocabulary random_vocabulary(Random& random) {
  Vocabulary v;
  if (random.below(3) > 0) v.unk = v.add("<unk>");
  v.fuse = random.below(2) == 0;
  v.ignore_merges = random.below(2) == 0;
  v.byte_fallback = random.below(4) > 0;
  bool all_bytes = random.below(3) > 0, all_characters = random.below(3) == 0;
  for (uint32_t byte = 0; byte < 256; ++byte)
    if (all_bytes || random.below(8) > 0) v.add(byte_token(static_cast<uint8_t>(byte)));
  for (const std::string& c : kCharacters)
    if (all_characters || random.below(5) > 0) v.add(c);
  for (size_t i = 0, wanted = random.below(80); i < wanted; ++i) {
    std::string text;
    while (text.size() < 12) text += kCharacters[random.below(kCharacters.size())];
    auto cut = [&](size_t from) {
      size_t at = from + 1 + random.below(4);
      while (at < text.size() && (text[at] & 0xc0) == 0x80) ++at;
      return std::min(at, text.size());
    };
    size_t middle = cut(0), end = cut(middle);
    std::string left = text.substr(0, middle), right = text.substr(middle, end - middle);
    if (right.empty() || !v.ids.count(left) || !v.ids.count(right)) continue;
    v.add(left + right);
    v.order.emplace_back(v.ids[left], v.ids[right]);
  }
  // Now and then a merge with a token that stands for a byte or for what is not known.
  if (random.below(6) == 0 && v.ids.count("<0xC3>") && v.ids.count("a")) {
    v.add("<0xC3>a");
    v.order.emplace_back(v.ids["<0xC3>"], v.ids["a"]);
  }
  int rank = 0;
  for (auto pair : v.order) {
    std::string both = v.tokens[static_cast<size_t>(pair.first)] + v.tokens[static_cast<size_t>(pair.second)];
    v.merges[pair] = {rank++, v.ids.at(both)};
  }
  return v;
}

std::string marked(const std::string& token) {
  std::string out;
  for (char c : token) out += c == ' ' ? std::string(kSpaceMark) : std::string(1, c);
  return out;
}

void fill(BpeModel& model, const Vocabulary& v, Spelling spelling) {
  auto spelled = [&](int id) {
    const std::string& token = v.tokens[static_cast<size_t>(id)];
    return spelling == Spelling::kMarked ? marked(token) : token;
  };
  model.set_spelling(spelling);
  for (size_t i = 0; i < v.tokens.size(); ++i) model.add_token(spelled(static_cast<int>(i)), static_cast<uint32_t>(i));
  for (auto [left, right] : v.order) model.add_merge(spelled(left), spelled(right), 0);
  std::optional<uint32_t> unk;
  if (v.unk >= 0) unk = static_cast<uint32_t>(v.unk);
  model.finish(v.ignore_merges, unk, v.fuse, v.byte_fallback);
}

std::vector<int32_t> symbols_of(const Vocabulary& v, const std::string& text, Spelling spelling) {
  std::vector<int32_t> out;
  bool waits = false;
  for (size_t i = 0; i < text.size();) {
    size_t size = decode_utf8(reinterpret_cast<const uint8_t*>(text.data()) + i).size;
    std::string c = text.substr(i, size);
    i += size;
    if (v.ids.count(c)) {
      if (waits) out.push_back(v.unk);
      waits = false;
      out.push_back(v.ids.at(c));
      continue;
    }
    if (c == " " && spelling == Spelling::kMarked) c = kSpaceMark;
    std::vector<int32_t> bytes;
    for (char byte : c)
      if (auto it = v.ids.find(byte_token(static_cast<uint8_t>(byte))); it != v.ids.end()) bytes.push_back(it->second);
    if (v.byte_fallback && bytes.size() == c.size()) {
      out.insert(out.end(), bytes.begin(), bytes.end());
    } else if (v.unk >= 0) {
      if (waits && !v.fuse) out.push_back(v.unk);
      waits = true;
    }
  }
  if (waits) out.push_back(v.unk);
  return out;
}

// The pair of the lowest rank, the leftmost of equal ones, until none is left.
std::vector<int32_t> by_definition(const Vocabulary& v, const std::string& text, Spelling spelling) {
  if (v.ignore_merges && v.ids.count(text)) return {v.ids.at(text)};
  std::vector<int32_t> ids = symbols_of(v, text, spelling);
  for (;;) {
    const std::pair<int, int>* best = nullptr;
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      auto it = v.merges.find({ids[i], ids[i + 1]});
      if (it == v.merges.end() || (best && it->second.first >= best->first)) continue;
      best = &it->second;
      place = i;
    }
    if (!best) return ids;
    ids[place] = best->second;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
  }
}

TEST(BpeCharacters, EqualsTheDefinitionOnRandomVocabularies) {
  Random random(21);
  size_t parted = 0;
  for (int round = 0; round < 400; ++round) {
    Vocabulary v = random_vocabulary(random);
    Spelling spelling = round % 2 == 0 ? Spelling::kMarked : Spelling::kCharacters;
    BpeModel model;
    fill(model, v, spelling);
    ASSERT_FALSE(model.missing_merge());
    BpeModel::Scratch scratch;
    for (int i = 0; i < 120; ++i) {
      std::string text;
      for (size_t n = 1 + random.below(i % 10 == 0 ? 300 : 12); n > 0; --n)
        text += random.below(30) == 0 ? "ж" : kCharacters[random.below(kCharacters.size())];
      std::vector<int32_t> expected = by_definition(v, text, spelling);
      const auto* p = reinterpret_cast<const uint8_t*>(text.data());
      for (size_t at = 1; at < text.size(); ++at)
        parted += (p[at] & 0xc0) != 0x80 && !model.may_join(p, at, text.size());
      for (int again = 0; again < 2; ++again) {
        std::vector<int32_t> found;
        {
          IdWriter writer(found);
          model.encode_piece(p, text.size(), p + text.size(), scratch, writer);
        }
        ASSERT_EQ(found, expected) << text;
      }
    }
  }
  EXPECT_GT(parted, 10000u);
}

TEST(BpeCharacters, TokensKeepTheirSpelling) {
  BpeModel model;
  model.set_spelling(Spelling::kMarked);
  for (const char* token : {"\u2581", "a", "\u2581a", "a b", "<0x41>"})
    model.add_token(token, static_cast<uint32_t>(model.vocab_size()));
  model.add_merge("\u2581", "a", 0);
  model.finish(false, std::nullopt, false, true);
  ASSERT_FALSE(model.missing_merge());
  for (int32_t id = 0; id < 5; ++id) EXPECT_EQ(model.token_to_id(model.id_to_token(id)), id);
  EXPECT_EQ(model.id_to_token(2), "\u2581a");
  EXPECT_EQ(model.id_to_token(3), "a b");  // no text can hold it, and it is still there
  EXPECT_EQ(model.token_to_id(" a"), std::nullopt);
}

}  // namespace
}  // namespace gavel
