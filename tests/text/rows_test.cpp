// Rows of tokens: template, truncation and padding as tokenizer.json states them.
#include <gmock/gmock.h>

#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "text_test_util.h"

namespace gavel {
namespace {

using ::testing::HasSubstr;

nlohmann::json json_of(const std::string& name) {
  return nlohmann::json::parse(read_text(data_folder() / (name + ".json")));
}

std::vector<std::vector<int32_t>> rows_of(const Tokenizer::Batch& batch) {
  std::vector<std::vector<int32_t>> rows;
  for (auto row : batch.rows) rows.emplace_back(row.begin(), row.end());
  return rows;
}

// Answered by `tokenizers`' encode_batch() (data/make_cases.py).
TEST(Rows, EqualRecordedBatches) {
  std::istringstream lines(read_text(data_folder() / "rows.jsonl"));
  int batches = 0;
  for (std::string line; std::getline(lines, line); ++batches) {
    auto recorded = nlohmann::json::parse(line);
    auto json = json_of(recorded["tokenizer"]);
    for (const char* key : {"post_processor", "truncation", "padding"}) json[key] = recorded[key];
    Tokenizer tokenizer = Tokenizer::from_json(json.dump(), "recorded");
    std::vector<std::string> texts = recorded["texts"];
    std::vector<std::string_view> views(texts.begin(), texts.end());
    Tokenizer::Batch batch = tokenizer.encode_batch(views, tokenizer.row_options(), 2);
    EXPECT_EQ(rows_of(batch), recorded["ids"].get<std::vector<std::vector<int32_t>>>()) << line;
    size_t tokens = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(batch.attention_mask(i), recorded["masks"][i].get<std::vector<uint8_t>>()) << line;
      tokens += batch.rows[i].size();
    }
    EXPECT_EQ(batch.tokens, tokens);
  }
  EXPECT_EQ(batches, 60);
}

TEST(Rows, NothingIsAddedUnlessAskedFor) {
  auto json = json_of("llama3");
  json["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 9}}}, {"pad_id", 1}, {"pad_type_id", 0}, {"pad_token", "x"}};
  Tokenizer tokenizer = Tokenizer::from_json(json.dump(), "T");
  std::vector<std::string_view> texts{"one two three"};
  EXPECT_EQ(rows_of(tokenizer.encode_batch(texts)).at(0), encode(tokenizer, texts[0]));
  RowOptions stated = tokenizer.row_options();
  EXPECT_EQ(stated.truncation->direction, Side::kRight);  // files of old versions do not say
  EXPECT_EQ(stated.padding->length, 9u);
  EXPECT_EQ(rows_of(tokenizer.encode_batch(texts, stated)).at(0).size(), 9u);
}

TEST(Rows, TemplateOfBosAndEos) {
  std::filesystem::path folder = std::filesystem::path(GAVEL_BINARY_DIR) / "text_test" / "template";
  std::filesystem::remove_all(folder);
  make_folder(folder);
  std::filesystem::copy_file(data_folder() / "llama3.json", folder / "tokenizer.json");
  // Written in the file, add_eos_token has no effect: the template of tokenizer.json is what counts, as in
  // transformers.
  write_file(folder / "tokenizer_config.json",
             R"({"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "add_eos_token": true})");
  Tokenizer tokenizer = Tokenizer::load(folder);
  int32_t bos = *tokenizer.bos_id(), eos = *tokenizer.eos_id();
  EXPECT_EQ(tokenizer.prefix(), std::vector<int32_t>{bos});
  EXPECT_TRUE(tokenizer.suffix().empty());
  // Set afterwards it counts: transformers 5.23 gives [521, 64, 220, 65, 522] for "a b" with both.
  tokenizer.set_template(true, true);
  std::vector<std::string_view> texts{"a b"};
  RowOptions options{.add_special_tokens = true};
  EXPECT_EQ(rows_of(tokenizer.encode_batch(texts, options)).at(0), (std::vector<int32_t>{521, 64, 220, 65, 522}));
  options.truncation = TruncationParams{.max_length = 3, .direction = Side::kLeft};
  EXPECT_EQ(rows_of(tokenizer.encode_batch(texts, options)).at(0), (std::vector<int32_t>{bos, 65, eos}));
  tokenizer.save(folder / "saved");
  Tokenizer saved = Tokenizer::load(folder / "saved");
  EXPECT_EQ(saved.prefix(), std::vector<int32_t>{bos});
  EXPECT_EQ(saved.suffix(), std::vector<int32_t>{eos});
  EXPECT_EQ(encode(saved, "the judge reads"), encode(tokenizer, "the judge reads"));
  tokenizer.set_template(false, false);
  EXPECT_EQ(rows_of(tokenizer.encode_batch(texts, RowOptions{.add_special_tokens = true})).at(0).size(), 3u);
  EXPECT_THROW(Tokenizer::load(data_folder() / "gpt2.json").set_template(true, false), Error);
}

std::string encoding_error(const nlohmann::json& json, std::vector<std::string_view> texts = {"some text of words"}) {
  try {
    Tokenizer tokenizer = Tokenizer::from_json(json.dump(), "T");
    tokenizer.encode_batch(texts, tokenizer.row_options());
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Rows, BadSectionsAreErrorsThatNameThem) {
  struct Change {
    const char* section;
    const char* value;
    const char* text;
  };
  for (Change c : std::initializer_list<Change>{
           {"truncation", R"({"max_length": 8, "strategy": "LongestFirst", "stride": 0})", "no error"},
           {"truncation", R"({"max_length": 0, "strategy": "LongestFirst", "stride": 0})",
            "max_length 0 leaves no room for the 1 tokens that the template adds"},
           {"truncation", R"({"max_length": 8, "strategy": "LongestFirst", "stride": 7})", "the stride 7 is not below"},
           {"truncation", R"({"max_length": 8, "strategy": "OnlySecond", "stride": 0})", "OnlySecond is for pairs"},
           {"truncation", R"({"max_length": 8, "strategy": "Odd"})", "truncation.strategy: \"Odd\" is not known"},
           {"truncation", R"({"strategy": "LongestFirst"})", "T.truncation: the key \"max_length\" is missing"},
           {"truncation", R"({"max_length": 8, "strategy": "OnlyFirst", "direction": "Up"})", "direction: \"Up\""},
           {"padding", R"({"strategy": "BatchLongest", "pad_id": 0, "pad_type_id": 0, "pad_token": ""})", "no error"},
           {"padding", R"({"strategy": "Odd", "pad_id": 0, "pad_type_id": 0, "pad_token": ""})",
            "\"Odd\" is not known"},
           {"padding", R"({"strategy": {"Fixed": 1000000000000}, "pad_id": 0, "pad_type_id": 0, "pad_token": ""})",
            "is too long"},
           {"padding", R"({"strategy": "BatchLongest", "pad_id": -1, "pad_type_id": 0, "pad_token": ""})",
            "padding.pad_id: expected a whole number"},
           {"padding", R"({"strategy": "BatchLongest", "pad_type_id": 0, "pad_token": ""})",
            "\"pad_id\" is missing"}}) {
    auto json = json_of("llama3");
    json[c.section] = nlohmann::json::parse(c.value);
    EXPECT_THAT(encoding_error(json), HasSubstr(c.text)) << c.value;
  }
}

}  // namespace
}  // namespace gavel
