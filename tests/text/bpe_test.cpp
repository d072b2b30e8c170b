#include "text/bpe.h"

#include <gtest/gtest.h>

#include <ctime>
#include <map>

#include "text_test_util.h"

namespace gavel {
namespace {

// Merging as the method is defined: the pair of the lowest rank, the leftmost of equal ones, until none is
// left.
std::vector<int32_t> merge_by_definition(std::string_view word,
                                         const std::map<std::pair<int, int>, std::pair<int, int>>& merges) {
  std::vector<int32_t> ids;
  for (char c : word) ids.push_back(c - 'a');
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
      if (both.size() < 40 && std::find(tokens.begin(), tokens.end(), both) == tokens.end())
        tokens.push_back(both);
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
      auto expected = merge_by_definition(word, merges);
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

// Time may grow by a factor of about 8 for 8 times the text; a quadratic method would need 64 times as much.
TEST(Bpe, LongWordsTakeAboutLinearTime) {
  for (const char* name : {"llama3", "digits"}) {
    Tokenizer tokenizer = Tokenizer::load(data_folder() / (std::string(name) + ".json"));
    Random random(5);
    std::string letters;
    for (size_t i = 0; i < (1 << 18); ++i) letters += static_cast<char>('a' + random.below(26));
    std::string spaces(1 << 18, ' ');
    for (const std::string& text :
         {letters, spaces, spaces + "a", std::string(1 << 18, 'e'), std::string(1 << 18, '\n'),
          std::string(1 << 18, '='), std::string(1 << 18, '7')}) {
      auto seconds = [&](size_t size) {
        double best = 1e9;
        for (int i = 0; i < 2; ++i) {
          std::clock_t start = std::clock();  // processor time: other programs do not disturb it
          std::vector<int32_t> ids;
          tokenizer.encode(std::string_view(text).substr(text.size() - size), ids);
          best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
        }
        return best;
      };
      double small = seconds(1 << 15), large = seconds(1 << 18);
      EXPECT_LT(large, 32 * small + 0.01) << name << ": " << text.substr(text.size() - 3);
    }
  }
}

}  // namespace
}  // namespace gavel
