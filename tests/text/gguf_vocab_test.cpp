#include "text/gguf_vocab.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "text_test_util.h"

namespace gavel {
namespace {

// Writes GGUF headers for the tests.
class Writer {
 public:
  template <class T>
  Writer& put(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(std::string_view s) {
    put<uint64_t>(s.size());
    bytes += s;
    return *this;
  }
  Writer& key(std::string_view name, uint32_t type) { return text(name).put(type); }
  Writer& strings(std::string_view name, const std::vector<std::string>& values) {
    key(name, 9).put<uint32_t>(8).put<uint64_t>(values.size());
    for (const std::string& v : values) text(v);
    return *this;
  }
  std::string bytes;
};

// The digits tokenizer of tests/text/data as a GGUF vocabulary.
std::string gguf_of(const nlohmann::json& json, const std::string& pre = "smollm") {
  std::vector<std::string> tokens(json["model"]["vocab"].size()), merges;
  for (auto& [token, id] : json["model"]["vocab"].items()) tokens.at(id) = token;
  for (auto& m : json["model"]["merges"])
    merges.push_back(m.is_string() ? m.get<std::string>() : m[0].get<std::string>() + " " + m[1].get<std::string>());
  Writer w;
  w.bytes = "GGUF";
  w.put<uint32_t>(3).put<uint64_t>(0).put<uint64_t>(10);
  w.key("general.architecture", 8).text("llama");
  w.key("general.odd", 9).put<uint32_t>(0).put<uint64_t>(3).put<uint8_t>(1).put<uint8_t>(2).put<uint8_t>(3);
  w.key("tokenizer.ggml.model", 8).text("gpt2");
  w.key("tokenizer.ggml.pre", 8).text(pre);
  w.strings("tokenizer.ggml.tokens", tokens);
  w.strings("tokenizer.ggml.merges", merges);
  w.key("tokenizer.ggml.token_type", 9).put<uint32_t>(5).put<uint64_t>(tokens.size());
  for (const std::string& t : tokens) w.put<int32_t>(t.starts_with("<|") ? 3 : 1);
  w.key("tokenizer.ggml.bos_token_id", 4).put<uint32_t>(1);
  w.key("tokenizer.ggml.eos_token_id", 4).put<uint32_t>(0);
  w.key("tokenizer.ggml.add_bos_token", 7).put<uint8_t>(1);
  return w.bytes;
}

std::filesystem::path write_gguf(const std::string& bytes) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / ("text_test_" + std::to_string(::getpid()));
  make_folder(folder);
  write_file(folder / "vocab.gguf", bytes);
  return folder / "vocab.gguf";
}

nlohmann::json digits_json() {
  return nlohmann::json::parse(read_text(data_folder() / "digits.json"));
}

TEST(GgufVocab, EqualsTheTokenizerJson) {
  Tokenizer tokenizer = Tokenizer::load(write_gguf(gguf_of(digits_json())));
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.prefix(), std::vector<int32_t>{1});
  auto cases = parse_cases(read_text(data_folder() / "digits.cases.jsonl"));
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / "from_gguf";
  std::filesystem::remove_all(folder);
  tokenizer.set_pad_id(0);
  tokenizer.save(folder);
  Tokenizer saved = Tokenizer::load(folder);
  EXPECT_EQ(saved.pad_id(), 0);
  EXPECT_EQ(saved.bos_id(), 1);
  EXPECT_EQ(saved.prefix(), tokenizer.prefix());
  for (const Case& c : cases) {
    EXPECT_EQ(encode(tokenizer, c.text), c.ids) << c.text;
    EXPECT_EQ(encode(saved, c.text), c.ids) << c.text;
    EXPECT_EQ(tokenizer.decode(c.ids), c.decoded);
  }
}

TEST(GgufVocab, CutOffFilesAreErrors) {
  std::string bytes = gguf_of(digits_json());
  for (size_t size = 0; size < bytes.size(); size += size < 300 ? 1 : 37)
    EXPECT_THROW(Tokenizer::load(write_gguf(bytes.substr(0, size))), Error) << size;
}

TEST(GgufVocab, WrongBytesNeverCrash) {
  std::string bytes = gguf_of(digits_json());
  Random random(9);
  for (int i = 0; i < 300; ++i) {
    std::string bad = bytes;
    for (int k = 0; k < 3; ++k) bad[random.below(i < 200 ? 400 : bad.size())] = static_cast<char>(random.next());
    try {
      encode(Tokenizer::load(write_gguf(bad)), "some text 123");
    } catch (const Error&) {
    }
  }
}

TEST(GgufVocab, HugeCountsAreErrors) {
  Writer w;
  w.bytes = "GGUF";
  w.put<uint32_t>(3).put<uint64_t>(0).put<uint64_t>(1);
  w.key("tokenizer.ggml.tokens", 9).put<uint32_t>(8).put<uint64_t>(~uint64_t{0} / 2).put<uint64_t>(0);
  EXPECT_THROW(read_gguf_vocab(write_gguf(w.bytes)), Error);
  GgufVocab vocab;
  vocab.source = "G";
  vocab.model = "t5";
  EXPECT_THROW(Tokenizer::from_gguf(vocab), Error);
  try {
    Tokenizer::load(write_gguf(gguf_of(digits_json(), "odd")));
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("tokenizer.ggml.pre: \"odd\" is not known"));
  }
}

}  // namespace
}  // namespace gavel
