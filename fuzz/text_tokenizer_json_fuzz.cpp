// A tokenizer.json of any bytes is an error or a tokenizer that encodes, makes rows as the file asks for
// them, and decodes what it encoded.
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "fuzz_target.h"
#include "text/tokenizer.h"
#include "text_sample.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    gavel::Tokenizer tokenizer = gavel::Tokenizer::from_json(json, "fuzz");
    std::vector<int32_t> ids;
    std::string_view texts[] = {"It's 12345 words,  \r\n\t a\xc3\xa9\xe4\xb8\x96 <|end|><l> \xff",
                                json.substr(0, 2000)};
    for (std::string_view text : texts) tokenizer.encode(text, ids);
    tokenizer.decode(ids);
    gavel::RowOptions options = tokenizer.row_options();
    // Long rows are allowed, and slow.
    if (options.padding && (options.padding->length.value_or(0) > 4096 || options.padding->pad_to_multiple_of > 4096))
      return 0;
    gavel::Tokenizer::Batch batch = tokenizer.encode_batch(texts, options, 1);
    if (batch.rows.size() != 2 || batch.rows[0].size() + batch.rows[1].size() != batch.tokens) __builtin_trap();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  std::string rows = gavel::sample_tokenizer_json(false);
  const std::string_view none = R"("post_processor":null)";
  rows.replace(rows.find(none), none.size(),
               R"("truncation":{"direction":"Left","max_length":5,"strategy":"LongestFirst","stride":0},)"
               R"("padding":{"strategy":{"Fixed":9},"direction":"Left","pad_to_multiple_of":4,"pad_id":1,)"
               R"("pad_type_id":0,"pad_token":"a"},"post_processor":{"type":"Sequence","processors":[)"
               R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},)"
               R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|x|>","type_id":0}},)"
               R"({"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<|x|>":{"id":"<|x|>",)"
               R"("ids":[1],"tokens":["<|x|>"]}}},{"type":"RobertaProcessing","sep":["a",1],"cls":["b",2]}]})");
  return {gavel::sample_tokenizer_json(true),
          gavel::sample_tokenizer_json(false),
          rows,
          gavel::sample_sentencepiece_json(gavel::kMarkSpaces, "null", false),
          gavel::sample_sentencepiece_json(gavel::kPrependAndMark, "null", true),
          gavel::sample_sentencepiece_json(gavel::kNfkc, gavel::kMetaspaceFirst, true),
          gavel::sample_sentencepiece_json("null", gavel::kMetaspaceSplit, false)};
}
