#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer_impl.h"

namespace gavel {
namespace {

using Json = nlohmann::ordered_json;
using Stage = PreTokenizer::Stage;

Json byte_level(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

// Only the stages that GGUF vocabularies have.
Json stage_json(const Stage& stage) {
  switch (stage.type) {
    case Stage::Type::kDigits:
      return {{"type", "Digits"}, {"individual_digits", stage.individual}};
    case Stage::Type::kSplit:
      return {{"type", "Split"}, {"pattern", {{"Regex", stage.pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
    case Stage::Type::kMetaspace: {
      using Scheme = PreTokenizer::PrependScheme;
      const char* scheme = stage.prepend_scheme == Scheme::kAlways  ? "always"
                           : stage.prepend_scheme == Scheme::kFirst ? "first"
                                                                    : "never";
      return {
          {"type", "Metaspace"}, {"replacement", stage.pattern}, {"prepend_scheme", scheme}, {"split", stage.split}};
    }
    case Stage::Type::kByteLevel:
      break;
  }
  return byte_level(stage.prefix_space, stage.use_regex);
}

Json step_json(const Normalizer::Step& step) {
  using Type = Normalizer::Step::Type;
  switch (step.type) {
    case Type::kReplace:
      return {{"type", "Replace"}, {"pattern", {{"String", step.pattern}}}, {"content", step.content}};
    case Type::kPrepend:
      return {{"type", "Prepend"}, {"prepend", step.content}};
    case Type::kNfc:
    case Type::kNfkc:
      break;
  }
  return {{"type", step.type == Type::kNfc ? "NFC" : "NFKC"}};
}

Json decoder_json(const Decoder::Step& step) {
  using Type = Decoder::Step::Type;
  switch (step.type) {
    case Type::kReplace:
      return {{"type", "Replace"}, {"pattern", {{"String", step.pattern}}}, {"content", step.content}};
    case Type::kByteFallback:
      return {{"type", "ByteFallback"}};
    case Type::kFuse:
      return {{"type", "Fuse"}};
    case Type::kStrip:
      return {{"type", "Strip"}, {"content", step.pattern}, {"start", step.start}, {"stop", step.stop}};
    case Type::kMetaspace:
      return {{"type", "Metaspace"},
              {"replacement", step.pattern},
              {"prepend_scheme", step.drop_first ? "always" : "never"},
              {"split", true}};
    case Type::kByteLevel:
      break;
  }
  return byte_level(true, true);
}

/** null for an empty list, the one part, or a Sequence, whose parts stand under `key`. */
template <class Part, class ToJson>
Json sequence_json(const std::vector<Part>& parts, const char* key, const ToJson& to_json) {
  if (parts.empty()) return nullptr;
  if (parts.size() == 1) return to_json(parts[0]);
  Json list = Json::array();
  for (const Part& part : parts) list.push_back(to_json(part));
  return {{"type", "Sequence"}, {key, std::move(list)}};
}

Json template_json(const Tokenizer& tokenizer) {
  if (tokenizer.prefix().empty() && tokenizer.suffix().empty()) return nullptr;
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  auto put = [&](Json& list, const std::vector<int32_t>& ids, int type) {
    for (int32_t id : ids) {
      std::string token = tokenizer.id_to_token(id);
      list.push_back({{"SpecialToken", {{"id", token}, {"type_id", type}}}});
      special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
    }
  };
  put(single, tokenizer.prefix(), 0);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  put(single, tokenizer.suffix(), 0);
  pair = single;
  put(pair, tokenizer.prefix(), 1);
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  put(pair, tokenizer.suffix(), 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace

nlohmann::ordered_json added_tokens_json(const std::vector<AddedToken>& tokens) {
  Json list = Json::array();
  for (const AddedToken& token : tokens)
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  return list;
}

std::string Tokenizer::to_json() const {
  const Impl& impl = *impl_;
  if (impl.gguf.model.empty()) {
    if (!own_template_) return std::string(impl.json);
    // Not ordered_json, which looks through all keys at each insertion.
    auto root = nlohmann::json::parse(impl.json);
    root["post_processor"] = nlohmann::json(template_json(*this));
    return root.dump();
  }
  Json root = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  root["added_tokens"] = added_tokens_json(impl.added);
  root["normalizer"] = sequence_json(impl.normalizer.steps(), "normalizers", step_json);
  root["pre_tokenizer"] = sequence_json(impl.pre.stages(), "pretokenizers", stage_json);
  root["post_processor"] = template_json(*this);
  root["decoder"] =
      impl.decoder ? sequence_json(impl.decoder->steps(), "decoders", decoder_json) : byte_level(true, true);
  Json& model = root["model"];
  model = {{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", impl.model.unk() < 0 ? Json(nullptr) : Json(impl.model.id_to_token(impl.model.unk()))},
           {"continuing_subword_prefix", nullptr},
           {"end_of_word_suffix", nullptr},
           {"fuse_unk", impl.model.fuse_unk()},
           {"byte_fallback", impl.model.byte_fallback()},
           {"ignore_merges", impl.model.ignore_merges()}};
  // ordered_json looks through all keys at each insertion; the vocabulary is written through its vector.
  Json::object_t vocab;
  for (int32_t id = 0; id < impl.model.id_end(); ++id)
    if (std::string token = impl.model.id_to_token(id); !token.empty())
      static_cast<std::vector<std::pair<const std::string, Json>>&>(vocab).emplace_back(std::move(token), id);
  model["vocab"] = std::move(vocab);
  if (impl.made_merges.empty()) {
    model["merges"] = impl.gguf.merges;
  } else {
    Json merges = Json::array();
    for (auto [left, right] : impl.made_merges)
      merges.push_back({impl.model.id_to_token(left), impl.model.id_to_token(right)});
    model["merges"] = std::move(merges);
  }
  return root.dump(1);
}

void Tokenizer::save(const std::filesystem::path& folder) const {
  const Impl& impl = *impl_;
  make_folder(folder);
  bool as_read = impl.gguf.model.empty() && !own_template_;
  write_file(folder / "tokenizer.json", as_read ? impl.json : std::string_view(to_json()));
  auto parse = [](const std::string& text) {
    Json json = Json::parse(text, nullptr, false);
    return json.is_object() ? json : Json::object();
  };
  Json config = parse(impl.config_json);
  if (config.empty()) {
    config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
    if (!impl.chat_template.empty() && !impl.chat_template_file) config["chat_template"] = impl.chat_template;
  }
  Json map = parse(impl.special_map_json);
  // What was read stays as it was spelled; only a token that differs is written anew.
  auto put = [&](const char* key, std::optional<int32_t> id) {
    if (!id) return;
    std::string token = id_to_token(*id);
    for (Json* json : {&config, &map}) {
      auto it = json->find(key);
      if (it != json->end() && it->is_string() && *it == token) continue;
      if (it != json->end() && it->is_object() && it->value("content", "") == token) continue;
      (*json)[key] = token;
    }
  };
  put("bos_token", bos_);
  put("eos_token", eos_);
  put("pad_token", pad_);
  write_file(folder / "tokenizer_config.json", config.dump(2) + "\n");
  write_file(folder / "special_tokens_map.json", map.dump(2) + "\n");
  if (impl.chat_template_file) write_file(folder / "chat_template.jinja", impl.chat_template);
}

Tokenizer Tokenizer::with_regex_only() const {
  Tokenizer out = *this;
  if (impl_->gguf.model.empty()) {
    out.impl_ = TokenizerBuilder::from_json(impl_->json, impl_->source, impl_->json_keep).impl_;
  } else {
    out.impl_ = from_json(to_json(), impl_->source).impl_;
  }
  auto impl = std::const_pointer_cast<Impl>(out.impl_);
  impl->pre = PreTokenizer(impl->pre.stages(), impl->source, false);
  impl->marked.reset();
  return out;
}

}  // namespace gavel
