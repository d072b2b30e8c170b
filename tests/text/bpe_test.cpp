#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "text_test_util.h"

namespace gavel {
namespace {

// Merging as the method is defined: the pair of the lowest rank, the leftmost of equal ones, until none is
// left.
std::vector<int32_t> merge_by_definition(std::vector<int32_t> ids,
                                         const std::map<std::pair<int, int>, std::pair<int, int>>& merges) {
  for (;;) {
    int best_rank = 1 << 30, into = -1;
    size_t best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      auto it = merges.find({ids[i], ids[i + 1]});
      if (it == merges.end() || it->second.first >= best_rank) continue;
      best_rank = it->second.first;
      into = it->second.second;
      best = i;
    }
    if (into < 0) return ids;
    ids[best] = into;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// Random merges over few letters, so that words are full of ties and overlaps; several pairs may make one
// token.
TEST(Bpe, EqualsTheDefinitionOnRandomVocabularies) {
  Random random(11);
  for (int round = 0; round < 40; ++round) {
    size_t letters = 1 + random.below(4);
    BpeModel model;
    std::map<std::string, int> ids;
    std::vector<std::string> tokens;
    for (size_t i = 0; i < letters; ++i) tokens.emplace_back(1, static_cast<char>('a' + i));
    std::vector<std::pair<int, int>> pairs;
    for (size_t i = 0; i < 60; ++i) {
      auto left = random.below(tokens.size()), right = random.below(tokens.size());
      std::string both = tokens[left] + tokens[right];
      pairs.emplace_back(left, right);
      if (both.size() < 40 && std::find(tokens.begin(), tokens.end(), both) == tokens.end()) tokens.push_back(both);
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      model.add_token(tokens[i], static_cast<uint32_t>(i));
      ids[tokens[i]] = static_cast<int>(i);
    }
    std::map<std::pair<int, int>, std::pair<int, int>> merges;
    int rank = 0;
    for (auto [left, right] : pairs) {
      std::string a = tokens[static_cast<size_t>(left)], b = tokens[static_cast<size_t>(right)];
      if (!ids.count(a + b)) continue;
      model.add_merge(a, b, 0);
      merges[{left, right}] = {rank++, ids[a + b]};  // a pair given twice: the later rank
    }
    model.finish(false, std::nullopt, false);
    ASSERT_FALSE(model.missing_merge());
    BpeModel::Scratch scratch;
    for (size_t size : {1, 2, 3, 5, 8, 13, 15, 16, 17, 40, 95, 96, 97, 98, 150, 257, 400}) {
      std::string word;
      for (size_t i = 0; i < size; ++i) word += static_cast<char>('a' + random.below(letters));
      std::vector<int32_t> letters_of;
      for (char c : word) letters_of.push_back(c - 'a');
      auto expected = merge_by_definition(letters_of, merges);
      const auto* p = reinterpret_cast<const uint8_t*>(word.data());
      for (int again = 0; again < 2; ++again) {
        std::vector<int32_t> found;
        {
          IdWriter writer(found);
          model.encode_piece(p, word.size(), p + word.size(), scratch, writer);
        }
        ASSERT_EQ(found, expected) << word;
      }
    }
  }
}

// The same over characters of one to four bytes, with tokens that hold them in part, bytes that the
// vocabulary lacks, and pieces that are tokens as a whole: what the cut into parts must see.
TEST(Bpe, EqualsTheDefinitionOnCharactersOfManyBytes) {
  const std::vector<std::string> characters = {"a", " ", "é", "è", "的", "百", "一", "😀", "😁", "\u0301"};
  Random random(12);
  size_t parted = 0;
  for (int round = 0; round < 300; ++round) {
    BpeModel model;
    std::map<std::string, int> ids;
    std::vector<std::string> tokens;
    auto add = [&](const std::string& bytes) {
      model.add_token(ByteAlphabet::get().to_text(bytes), static_cast<uint32_t>(tokens.size()));
      ids[bytes] = static_cast<int>(tokens.size());
      tokens.push_back(bytes);
    };
    for (const std::string& c : characters)
      for (char byte : c)
        if (!ids.count({byte}) && (round % 3 != 0 || random.below(8) > 0)) add({byte});
    std::map<std::pair<int, int>, std::pair<int, int>> merges;
    std::vector<std::pair<int, int>> order;
    for (size_t i = 0, wanted = random.below(60); i < wanted; ++i) {
      // Two tokens that stand side by side in some text.
      std::string text;
      while (text.size() < 12) text += characters[random.below(characters.size())];
      size_t begin = random.below(text.size()), middle = begin + 1 + random.below(4),
             end = middle + 1 + random.below(4);
      if (end > text.size()) continue;
      std::string left = text.substr(begin, middle - begin), right = text.substr(middle, end - middle);
      if (!ids.count(left) || !ids.count(right)) continue;
      if (!ids.count(left + right)) add(left + right);
      order.emplace_back(ids[left], ids[right]);
    }
    int rank = 0;
    for (auto [left, right] : order) {
      const std::string &a = tokens[static_cast<size_t>(left)], &b = tokens[static_cast<size_t>(right)];
      model.add_merge(ByteAlphabet::get().to_text(a), ByteAlphabet::get().to_text(b), 0);
      merges[{left, right}] = {rank++, ids[a + b]};
    }
    bool ignore = round % 2 == 0;
    model.finish(ignore, std::nullopt, false);
    ASSERT_FALSE(model.missing_merge());
    BpeModel::Scratch scratch;
    for (int i = 0; i < 200; ++i) {
      std::string word;
      for (size_t n = 1 + random.below(i % 20 == 0 ? 200 : 12); n > 0; --n)
        word += characters[random.below(characters.size())];
      std::vector<int32_t> expected;
      if (ignore && ids.count(word)) {
        expected = {ids[word]};
      } else {
        for (char byte : word)
          if (ids.count({byte})) expected.push_back(ids[{byte}]);
        expected = merge_by_definition(expected, merges);
      }
      const auto* p = reinterpret_cast<const uint8_t*>(word.data());
      for (size_t at = 1; at < word.size(); ++at)
        parted += (p[at] & 0xc0) != 0x80 && !model.may_join(p, at, word.size());
      for (int again = 0; again < 2; ++again) {
        std::vector<int32_t> found;
        {
          IdWriter writer(found);
          model.encode_piece(p, word.size(), p + word.size(), scratch, writer);
        }
        ASSERT_EQ(found, expected) << word;
      }
    }
  }
  EXPECT_GT(parted, 10000u);
}

TEST(Bpe, UnknownBytes) {
  for (bool fuse : {false, true}) {
    BpeModel model;
    model.add_token("a", 0);
    model.add_token("b", 1);
    model.add_token("ab", 2);
    model.add_token("<unk>", 3);
    model.add_merge("a", "b", 0);
    auto run = [&](std::string_view word) {
      BpeModel::Scratch scratch;
      std::vector<int32_t> ids;
      const auto* p = reinterpret_cast<const uint8_t*>(word.data());
      {
        IdWriter writer(ids);
        model.encode_piece(p, word.size(), p + word.size(), scratch, writer);
      }
      return ids;
    };
    model.finish(false, std::nullopt, false);
    EXPECT_EQ(run("axxb"), (std::vector<int32_t>{2}));  // unknown bytes are dropped before merging
    EXPECT_EQ(run("xx"), (std::vector<int32_t>{}));
    model.finish(false, 3, fuse);
    EXPECT_EQ(run("axxb"), fuse ? (std::vector<int32_t>{0, 3, 1}) : (std::vector<int32_t>{0, 3, 3, 1}));
  }
}

TEST(Bpe, ByteAlphabetIsAnInvertibleMap) {
  const ByteAlphabet& alphabet = ByteAlphabet::get();
  std::string all, back;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  ASSERT_TRUE(alphabet.append_bytes(back, alphabet.to_text(all)));
  EXPECT_EQ(back, all);
  EXPECT_EQ(alphabet.to_text(" \n"), "ĠĊ");
  EXPECT_FALSE(alphabet.append_bytes(back, "a b"));
  EXPECT_FALSE(alphabet.append_bytes(back, "世"));
  EXPECT_EQ(back, all);
}

TEST(WordCache, ForgetsNothingWrongWhenItOverflows) {
  // More words than places: every answer must still be the word's own.
  WordCache cache;
  Random random(3);
  for (int i = 0; i < 400000; ++i) {
    uint64_t value = random.below(200000);
    char bytes[16] = {};
    std::memcpy(bytes, &value, 8);
    ShortWord word = ShortWord::load(reinterpret_cast<const uint8_t*>(bytes), 8 + value % 8, true);
    uint64_t hash = word.hash();
    std::vector<int32_t> ids(value % 6 + 1, static_cast<int32_t>(value));
    if (const WordCache::Entry* entry = cache.find(word, hash)) {
      auto found = cache.tokens(*entry);
      ASSERT_EQ(std::vector<int32_t>(found.begin(), found.end()), ids);
    } else {
      cache.insert(word, hash, ids);
    }
    std::string text = std::to_string(value) + std::string(20 + value % 50, 'x');
    uint64_t long_hash = hash_bytes(text.data(), text.size());
    auto found = cache.find_long(text, long_hash);
    if (found.empty()) {
      cache.insert_long(text, long_hash, ids);
    } else {
      ASSERT_EQ(std::vector<int32_t>(found.begin(), found.end()), ids);
    }
  }
}

TEST(ShortWord, LoadsTheSameNearTheEndOfMemory) {
  std::string text = "abcdefghijklmnopqrstuvwxyz";
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t size = 1; size <= ShortWord::kMaxBytes; ++size) {
    ShortWord a = ShortWord::load(p, size, true);
    EXPECT_EQ(a, ShortWord::load(p, size, false));
    EXPECT_NE(a, ShortWord::load(p, size - 1, true));
  }
}

}  // namespace
}  // namespace gavel
