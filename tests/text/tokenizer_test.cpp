#include "text/tokenizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/error.h"
#include "text_test_util.h"

namespace gavel {
namespace {

using ::testing::HasSubstr;

class SmallTokenizer : public ::testing::TestWithParam<const char*> {
 protected:
  Tokenizer load() const { return Tokenizer::load(data_folder() / (std::string(GetParam()) + ".json")); }
  std::vector<Case> cases() const {
    return parse_cases(read_text(data_folder() / (std::string(GetParam()) + ".cases.jsonl")));
  }
};

// The cases were answered by Hugging Face `tokenizers` (data/make_cases.py).
TEST_P(SmallTokenizer, EqualsRecordedCases) {
  Tokenizer tokenizer = load();
  auto all = cases();
  ASSERT_GE(all.size(), 120u);
  for (const Case& c : all) {
    EXPECT_EQ(encode(tokenizer, c.text), c.ids) << c.text;
    EXPECT_EQ(encode(tokenizer, c.text), c.ids) << "with a warm cache: " << c.text;
    EXPECT_EQ(tokenizer.decode(c.ids), c.decoded);
  }
}

TEST_P(SmallTokenizer, RegularExpressionsGiveTheSame) {
  Tokenizer tokenizer = load().with_regex_only();
  for (const Case& c : cases()) EXPECT_EQ(encode(tokenizer, c.text), c.ids) << c.text;
}

TEST_P(SmallTokenizer, BatchEqualsSingleCalls) {
  Tokenizer tokenizer = load();
  auto all = cases();
  std::vector<std::string_view> texts;
  for (int round = 0; round < 20; ++round)
    for (const Case& c : all) texts.push_back(c.text);
  Tokenizer::Batch batch = tokenizer.encode_batch(texts, 4);
  ASSERT_EQ(batch.rows.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> ids(batch.rows[i].begin(), batch.rows[i].end());
    ASSERT_EQ(ids, all[i % all.size()].ids);
  }
  EXPECT_EQ(tokenizer.encode_batch({}, 4).rows.size(), 0u);
}

TEST_P(SmallTokenizer, SaveCopiesTokenizerJson) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / GetParam();
  std::filesystem::remove_all(folder);
  Tokenizer tokenizer = load();
  tokenizer.set_pad_id(tokenizer.vocab_size() - 1);
  tokenizer.save(folder);
  EXPECT_EQ(read_text(folder / "tokenizer.json"), read_text(data_folder() / (std::string(GetParam()) + ".json")));
  Tokenizer again = Tokenizer::load(folder);
  EXPECT_EQ(again.pad_id(), tokenizer.vocab_size() - 1);
  EXPECT_EQ(again.vocab_size(), tokenizer.vocab_size());
}

INSTANTIATE_TEST_SUITE_P(All, SmallTokenizer,
                         ::testing::Values("llama3", "digits", "gpt2", "prefix", "general", "nfc", "sp_prepend",
                                           "sp_first", "sp_always", "sp_gemma", "sp_nfkc", "sp_plain"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, TemplateIsNotAddedButTold) {
  Tokenizer tokenizer = Tokenizer::load(data_folder() / "llama3.json");
  int32_t begin = tokenizer.token_to_id("<|begin_of_text|>").value();
  EXPECT_EQ(tokenizer.prefix(), std::vector<int32_t>{begin});
  EXPECT_TRUE(tokenizer.suffix().empty());
  EXPECT_TRUE(tokenizer.is_special(begin));
  EXPECT_EQ(encode(tokenizer, "<|begin_of_text|>").size(), 1u);
  EXPECT_NE(encode(tokenizer, "a").at(0), begin);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{begin}), "<|begin_of_text|>");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{begin}, true), "");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{-1, 1 << 20}), "");
}

TEST(Tokenizer, TokensAndIdsAreInverse) {
  Tokenizer tokenizer = Tokenizer::load(data_folder() / "gpt2.json");
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    EXPECT_EQ(tokenizer.token_to_id(tokenizer.id_to_token(id)), id) << tokenizer.id_to_token(id);
  EXPECT_EQ(tokenizer.token_to_id("not a token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(-1), "");
}

TEST(Tokenizer, CountsWhatIsNotUtf8) {
  Tokenizer tokenizer = Tokenizer::load(data_folder() / "gpt2.json");
  std::vector<int32_t> ids, expected;
  EXPECT_EQ(tokenizer.encode("a\xff\xe2\x82z", ids), 2u);
  EXPECT_EQ(tokenizer.encode("a\xef\xbf\xbd\xef\xbf\xbdz", expected), 0u);
  EXPECT_EQ(ids, expected);
  std::vector<std::string_view> texts{"a\xff", "b", "\xc0\xaf"};
  EXPECT_EQ(tokenizer.encode_batch(texts, 2).replaced, 3u);
}

TEST(Tokenizer, ManyThreadsShareOne) {
  Tokenizer tokenizer = Tokenizer::load(data_folder() / "llama3.json");
  auto cases = parse_cases(read_text(data_folder() / "llama3.cases.jsonl"));
  std::vector<std::jthread> threads;
  std::atomic<int> bad{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (const Case& c : cases)
        if (encode(tokenizer, c.text) != c.ids) ++bad;
    });
  threads.clear();
  EXPECT_EQ(bad, 0);
}

TEST(Tokenizer, FolderFilesGiveSpecialIds) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / "folder";
  std::filesystem::remove_all(folder);
  make_folder(folder);
  EXPECT_THROW(Tokenizer::load(folder), Error);
  std::filesystem::copy_file(data_folder() / "llama3.json", folder / "tokenizer.json");
  write_file(folder / "tokenizer_config.json", R"({"bos_token": {"content": "<|begin_of_text|>"}, "x": 1})");
  write_file(folder / "special_tokens_map.json", R"({"eos_token": "<|end_of_text|>"})");
  write_file(folder / "config.json", R"({"pad_token_id": 3, "eos_token_id": [1, 2], "bos_token_id": 1})");
  Tokenizer tokenizer = Tokenizer::load(folder);
  EXPECT_EQ(tokenizer.bos_id(), tokenizer.token_to_id("<|begin_of_text|>"));
  EXPECT_EQ(tokenizer.eos_id(), tokenizer.token_to_id("<|end_of_text|>"));
  EXPECT_EQ(tokenizer.pad_id(), 3);
  tokenizer.set_pad_id(*tokenizer.eos_id());
  tokenizer.save(folder / "saved");
  auto config = nlohmann::json::parse(read_text(folder / "saved" / "tokenizer_config.json"));
  EXPECT_EQ(config["bos_token"]["content"], "<|begin_of_text|>");
  EXPECT_EQ(config["pad_token"], "<|end_of_text|>");
  EXPECT_EQ(config["x"], 1);
  EXPECT_EQ(Tokenizer::load(folder / "saved").pad_id(), tokenizer.eos_id());
  EXPECT_THROW(tokenizer.set_pad_id(1 << 20), Error);
}

TEST(Tokenizer, AddedTokensOfTheConfigCount) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / "configured";
  std::filesystem::remove_all(folder);
  make_folder(folder);
  std::filesystem::copy_file(data_folder() / "llama3.json", folder / "tokenizer.json");
  const Tokenizer plain = Tokenizer::load(folder);
  const int32_t end = *plain.token_to_id("<|end_of_text|>"), next = plain.vocab_size();
  const std::string same =
      R"({"content":"<|begin_of_text|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})";
  auto config = [&](const std::string& decoder, const std::string& more = "") {
    write_file(folder / "tokenizer_config.json", R"({"added_tokens_decoder":)" + decoder + more + "}");
    return Tokenizer::load(folder);
  };
  EXPECT_EQ(config("{\"521\":" + same + "}").to_json(), plain.to_json()) << "nothing new";
  // Flags of the config come before those of tokenizer.json, and new tokens behind all others, as in transformers.
  const Tokenizer changed =
      config(fmt::format(R"({{"{}":{{"content":"<|end_of_text|>","lstrip":true,"rstrip":true,"special":true}},)"
                         R"("{}":{{"content":"[PAD]","special":true}}}})",
                         end, next),
             R"(,"pad_token":"[PAD]")");
  EXPECT_EQ(changed.pad_id(), next);
  EXPECT_EQ(changed.vocab_size(), next + 1);
  EXPECT_EQ(encode(changed, "a <|end_of_text|> a"),
            (std::vector<int32_t>{encode(plain, "a")[0], end, encode(plain, "a")[0]}));
  EXPECT_EQ(encode(changed, "[PAD]"), std::vector<int32_t>{next});
  changed.save(folder / "saved");
  EXPECT_EQ(encode(Tokenizer::load(folder / "saved"), "a <|end_of_text|>[PAD]"),
            encode(changed, "a <|end_of_text|>[PAD]"));
  EXPECT_EQ(Tokenizer::load(folder / "saved" / "tokenizer.json").token_to_id("[PAD]"), next);
  for (const auto& [decoder, part] : std::initializer_list<std::pair<std::string, std::string>>{
           {"7", "expected an object"},
           {R"({"x":{"content":"a"}})", "\"x\" is not a token id"},
           {R"({"99999999999999":{"content":"a"}})", "is not a token id"},
           {R"({"5":{}})", "added_tokens_decoder.5: expected an object with \"content\""},
           {R"({"5":{"content":"a","lstrip":1}})", "lstrip: expected true or false"}})
    try {
      config(decoder);
      ADD_FAILURE() << decoder;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
}

TEST(Tokenizer, AnUnknownTokenOutsideTheVocabularyIsNeverNeededWhereAllBytesAre) {
  auto json = nlohmann::json::parse(read_text(data_folder() / "llama3.json"));
  const Tokenizer plain = Tokenizer::from_json(json.dump(), "T");
  json["model"]["unk_token"] = "<|begin_of_text|>";  // an added token
  EXPECT_EQ(encode(Tokenizer::from_json(json.dump(), "T"), "hé\x01"), encode(plain, "hé\x01"));
  json["model"]["vocab"].erase("!");
  json["model"]["merges"] = nlohmann::json::array();
  EXPECT_THROW(Tokenizer::from_json(json.dump(), "T"), Error);
}

TEST(Tokenizer, PointersOfGitLfsAreNamed) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / "pointer";
  make_folder(folder);
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17\n";
  auto expect_named = [&](const std::string& name) {
    try {
      Tokenizer::load(folder);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(name + ": a pointer of Git LFS"), std::string::npos) << error.what();
    }
  };
  write_file(folder / "tokenizer.json", pointer);
  expect_named("tokenizer.json");
  write_file(folder / "tokenizer.json", read_text(data_folder() / "llama3.json"));
  write_file(folder / "tokenizer_config.json", pointer);
  expect_named("tokenizer_config.json");
}

TEST(Tokenizer, SpecialTokensInAStrangersTextAreText) {
  for (const char* name : {"llama3", "sp_gemma"}) {
    SCOPED_TRACE(name);
    Tokenizer tokenizer = Tokenizer::load(data_folder() / (std::string(name) + ".json"));
    const std::string token = std::string(name) == "llama3" ? "<|end_of_text|>" : "</s>";
    const int32_t id = tokenizer.token_to_id(token).value();
    const std::string frame = token + "a ", inside = "b " + token + " c\n" + token, text = frame + inside + token;
    auto around = [&](std::string_view whole, size_t begin, size_t end) {
      std::vector<int32_t> ids;
      const std::vector<Tokenizer::ByteRange> foreign = {{begin, end}};
      tokenizer.encode_around(whole, foreign, ids);
      return ids;
    };
    const std::vector<int32_t> ids = around(text, frame.size(), frame.size() + inside.size());
    EXPECT_EQ(std::count(ids.begin(), ids.end(), id), 2);
    EXPECT_EQ(ids.front(), id);
    EXPECT_EQ(ids.back(), id);
    EXPECT_EQ(tokenizer.decode(ids), text);
    EXPECT_EQ(around(text, 0, 0), encode(tokenizer, text));
    const std::string plain = frame + "b c" + token;
    EXPECT_EQ(around(plain, frame.size(), frame.size() + 3), encode(tokenizer, plain));
    // A token over the border is not the frame's.
    EXPECT_EQ(around(text, 1, 1), encode(tokenizer, text));
    // Places stay right where bytes before them are replaced.
    const std::string torn = "\xFF" + text;
    std::vector<int32_t> mended = around(torn, frame.size() + 1, frame.size() + 1 + inside.size());
    EXPECT_EQ(std::count(mended.begin(), mended.end(), id), 2);
  }
}

TEST(Tokenizer, TellsTheChatTemplateAndWhatItMayWrite) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / "chat";
  std::filesystem::remove_all(folder);
  make_folder(folder);
  std::filesystem::copy_file(data_folder() / "llama3.json", folder / "tokenizer.json");
  auto load = [&](const std::string& config) {
    write_file(folder / "tokenizer_config.json", config);
    return Tokenizer::load(folder);
  };
  EXPECT_EQ(load(R"({"chat_template": "a"})").chat_template(), "a");
  EXPECT_EQ(load(R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})")
                .chat_template(),
            "d");
  for (const char* other :
       {R"({"chat_template": [{"name": 1, "template": "t"}, "default", null, []]})",
        R"({"chat_template": [{"name": "default", "template": 1}]})", R"({"chat_template": 7})", "{}"})
    EXPECT_EQ(load(other).chat_template(), "");
  write_file(folder / "config.json", R"({"bos_token_id": 0, "eos_token_id": 1})");
  write_file(folder / "special_tokens_map.json", R"({"unk_token": "u", "sep_token": {"content": "s"}})");
  std::map<std::string, std::string> found = load(R"({"bos_token": null, "mask_token": 3})").special_tokens();
  std::map<std::string, std::string> expected = {{"unk_token", "u"}, {"sep_token", "s"}};
  expected["eos_token"] = load("{}").id_to_token(1);
  EXPECT_EQ(found, expected);
  EXPECT_EQ(load("{}").special_tokens()["bos_token"], load("{}").id_to_token(0));
  write_file(folder / "chat_template.jinja", "f");
  EXPECT_EQ(load(R"({"chat_template": "a"})").chat_template(), "f");
}

// ---- bad files ----

std::string error_of(const std::string& json) {
  try {
    Tokenizer::from_json(json, "T");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

nlohmann::json good() {
  return nlohmann::json::parse(read_text(data_folder() / "gpt2.json"));
}

TEST(Tokenizer, BadJsonIsAnErrorThatNamesThePart) {
  EXPECT_EQ(error_of(good().dump()), "no error");
  EXPECT_THAT(error_of(""), HasSubstr("T: not JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(error_of("{}"), HasSubstr("the key \"model\" is missing"));
  std::string deep(100000, '[');
  EXPECT_THAT(error_of(deep), HasSubstr("T: not JSON"));
  struct Change {
    const char* pointer;
    const char* value;
    const char* text;
  };
  for (Change c : std::initializer_list<Change>{
           {"/version", "\"2.0\"", "version \"2.0\" is not known"},
           {"/normalizer", R"({"type": "Lowercase"})", "normalizer: the normalizer \"Lowercase\" is not known"},
           {"/normalizer", R"({"type": "Sequence", "normalizers": []})", "no error"},
           {"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Odd"}]})",
            "normalizer.normalizers[1]: the normalizer \"Odd\" is not known"},
           {"/normalizer", R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"})",
            "normalizer.pattern: expected {\"String\": text}"},
           {"/normalizer", R"({"type": "Replace", "pattern": {"String": ""}, "content": "b"})",
            "normalizer.pattern: the text to replace is empty"},
           {"/normalizer", R"({"type": "Prepend"})", "normalizer: the key \"prepend\" is missing"},
           {"/pre_tokenizer", R"({"type": "Metaspace"})", "pre_tokenizer: the key \"replacement\" is missing"},
           {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})", "\"ab\" is not one character"},
           {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "odd"})",
            "pre_tokenizer.prepend_scheme: \"odd\" is not known"},
           {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false})",
            "pre_tokenizer.add_prefix_space: false does not agree"},
           {"/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "Metaspace", "replacement": "_"},
              {"type": "ByteLevel", "add_prefix_space": false}]})",
            "Metaspace together with ByteLevel is not known"},
           {"/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false},
              {"type": "Digits", "individual_digits": true}]})",
            "expected ByteLevel once and last"},
           {"/decoder", R"({"type": "Sequence", "decoders": [{"type": "CTC"}]})",
            "decoder.decoders[0]: the decoder \"CTC\" is not known"},
           {"/decoder", R"({"type": "Strip", "content": "ab", "start": 1, "stop": 0})", "\"ab\" is not one character"},
           {"/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "("},
              "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false}]})",
            "not known to Oniguruma"},
           {"/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a"},
              "behavior": "Odd", "invert": false}]})",
            "[0].behavior: \"Odd\" is not known"},
           {"/pre_tokenizer", R"({"type": "ByteLevel"})", "\"add_prefix_space\" is missing"},
           {"/decoder", R"({"type": "WordPiece"})", "decoder \"WordPiece\" is not known"},
           {"/post_processor", R"({"type": "Odd"})", "post-processor \"Odd\" is not known"},
           {"/post_processor", R"({"type": "TemplateProcessing", "single": []})", "does not stand in the template"},
           {"/model/type", "\"Unigram\"", "\"Unigram\" is not known"},
           {"/model/dropout", "0.1", "dropout"},
           {"/model/continuing_subword_prefix", "\"##\"", "continuing_subword_prefix"},
           {"/model/vocab", "[]", "model.vocab: expected an object"},
           {"/model/vocab", "null", "model.vocab: expected an object"},
           {"/model/vocab", R"({"a": -1})", "model.vocab.\"a\": expected a whole number"},
           {"/model/vocab", R"({"a": 1e3})", "expected a whole number"},
           {"/model/vocab", R"({"a": 16000000})", "the id 16000000 is too large"},
           {"/model/vocab", R"({"a": 1, "b": 1})", "token 'b' has id 1, which the token 'a' has already"},
           {"/model/merges", "3", "model.merges: expected an array"},
           {"/model/merges", R"(["a"])", "model.merges[0]: expected"},
           {"/model/merges", R"(["a b"])", "model.merges[0]: the token \"ab\""},
           {"/model/merges", R"([["a"]])", "model.merges[0]: expected"},
           {"/model/merges", R"([["a", 1]])", "model.merges[0]: expected"},
           {"/model/merges", R"(["a zzz"])", "the token \"zzz\" of this merge is not in model.vocab"},
           {"/added_tokens", R"([{"id": 0}])", "added_tokens[0]: the key \"content\" is missing"},
           {"/added_tokens", R"([{"id": "0", "content": "x"}])", "added_tokens[0].id: expected a whole number"}}) {
    auto json = good();
    json[nlohmann::json::json_pointer(c.pointer)] = nlohmann::json::parse(c.value);
    EXPECT_THAT(error_of(json.dump()), HasSubstr(c.text)) << c.pointer << " " << c.value;
  }
}

TEST(Tokenizer, CutOffJsonIsAnError) {
  std::string json = read_text(data_folder() / "llama3.json");
  json.resize(json.find_last_of('}'));
  for (size_t size = 0; size < json.size(); size += 61) EXPECT_NE(error_of(json.substr(0, size)), "no error");
}

TEST(Tokenizer, MissingFileIsAnError) {
  EXPECT_THROW(Tokenizer::load("/nowhere/tokenizer.json"), Error);
}

}  // namespace
}  // namespace gavel
