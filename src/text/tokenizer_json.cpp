#include <simdjson.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "pieces/unicode.h"
#include "text/json_node.h"
#include "text/tokenizer_impl.h"

namespace gavel {
namespace {

using Node = JsonNode;
using simdjson::dom::element;

uint32_t small_id(const Node& node, size_t entries) {
  uint64_t id = node.number();
  // Gaps are allowed, but not so many that a small file asks for much memory.
  if (id >= BpeModel::kMaxIds || id >= entries + (1u << 20))
    fail("{}: the id {} is too large for a vocabulary of {} tokens", node.where, id, entries);
  return static_cast<uint32_t>(id);
}

void read_merges(const Node& node, BpeModel& model) {
  size_t row = 0;
  for (element merge : node.array()) {
    auto bad = [&] { fail("{}[{}]: expected \"left right\" or [\"left\", \"right\"]", node.where, row); };
    std::string_view left, right;
    if (merge.is_string()) {
      std::string_view both = merge.get_string().value_unsafe();
      if (both.starts_with("#version")) {
        ++row;
        continue;
      }
      size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) bad();
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else {
      simdjson::dom::array pair;
      if (merge.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(left) != simdjson::SUCCESS ||
          pair.at(1).get(right) != simdjson::SUCCESS)
        bad();
    }
    model.add_merge(left, right, row);
    ++row;
  }
}

/** Whether every text has tokens without one for what is unknown. */
bool knows_all_bytes(const BpeModel& model, bool byte_fallback) {
  if (model.spelling() == Spelling::kByteLevel)
    return std::all_of(ByteAlphabet::get().text.begin(), ByteAlphabet::get().text.end(),
                       [&](const std::string& c) { return model.token_to_id(c).has_value(); });
  for (int byte = 0; byte < 256; ++byte)
    if (!model.token_to_id(fmt::format("<0x{:02X}>", byte))) return false;
  return byte_fallback;
}

void read_model(const Node& node, BpeModel& model) {
  if (node.has("type") && node.type() != "BPE")
    fail("{}.type: \"{}\" is not known; only BPE is", node.where, node.type());
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (node.has(key) && !node.get(key).text().empty())
      fail("{}.{}: \"{}\" is not known; there must be none", node.where, key, node.get(key).text());
  if (node.has("dropout")) {
    double dropout = 0;
    if (node.get("dropout").value.get(dropout) != simdjson::SUCCESS || dropout != 0)
      fail("{}.dropout: only null or 0 is known; with dropout the ids would be random", node.where);
  }
  Node vocab = node.get("vocab");
  simdjson::dom::object entries = vocab.object();
  Node merges = node.get("merges");
  // Each entry takes two bytes of the file at least, so this is bounded by the file.
  model.reserve(entries.size(), merges.array().size());
  size_t count = entries.size();
  for (auto [token, id] : entries) {
    uint64_t value = 0;
    if (id.get(value) != simdjson::SUCCESS || value >= BpeModel::kMaxIds || value >= count + (1u << 20))
      small_id({id, fmt::format("{}.\"{}\"", vocab.where, token)}, count);
    model.add_token(token, static_cast<uint32_t>(value));
  }
  read_merges(merges, model);
  bool byte_fallback = node.flag("byte_fallback", false);
  std::optional<uint32_t> unk;
  if (node.has("unk_token")) {
    std::string_view text = node.get("unk_token").text();
    auto id = model.token_to_id(text);
    // `tokenizers` fails at the first text that needs it; where the vocabulary has all bytes none does.
    if (!id && !knows_all_bytes(model, byte_fallback))
      fail("{}.unk_token: \"{}\" is not in model.vocab, which lacks bytes, so that there are texts without tokens",
           node.where, text);
    if (id) unk = static_cast<uint32_t>(*id);
  }
  if (byte_fallback && model.spelling() == Spelling::kByteLevel) {
    for (const std::string& c : ByteAlphabet::get().text)
      if (!model.token_to_id(c))
        fail("{}.byte_fallback: true is not known together with a vocabulary that lacks bytes", node.where);
  }
  model.finish(node.flag("ignore_merges", false), unk, node.flag("fuse_unk", false), byte_fallback);
  if (auto& missing = model.missing_merge())
    fail("{}[{}]: the token \"{}\" of this merge is not in model.vocab", merges.where, missing->row, missing->token);
}

// A token in tokenizer_config.json or special_tokens_map.json: a string, or an object with "content".
std::optional<std::string> token_text(const nlohmann::json& json, const char* key) {
  if (!json.is_object()) return std::nullopt;
  auto it = json.find(key);
  if (it == json.end()) return std::nullopt;
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string())
    return (*it)["content"].get<std::string>();
  return std::nullopt;
}

}  // namespace

void TokenizerBuilder::add_tokens(Tokenizer::Impl& impl, std::vector<AddedToken> tokens) {
  auto next = static_cast<int32_t>(impl.model.vocab_size());
  for (const AddedToken& token : impl.added) next = std::max(next, token.id + 1);
  bool told = false;
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    auto seen = impl.added_by_content.find(token.content);
    int32_t id = 0;
    if (seen != impl.added_by_content.end()) {
      id = impl.added[seen->second].id;
    } else {
      auto known = impl.model.token_to_id(token.content);
      id = known ? *known : next++;
    }
    if (id != token.id && !told) {
      spdlog::warn("{}: the added token \"{}\" says id {}, but gets {}, as `tokenizers` does it; there may be more",
                   impl.source, token.content, token.id, id);
      told = true;
    }
    token.id = id;
    if (seen != impl.added_by_content.end()) {
      impl.added[seen->second] = std::move(token);
    } else {
      impl.added_by_content.emplace(token.content, impl.added.size());
      impl.added.push_back(std::move(token));
    }
  }
  finish_added(impl);
}

void TokenizerBuilder::finish_added(Tokenizer::Impl& impl) {
  std::sort(impl.added.begin(), impl.added.end(), [](auto& a, auto& b) { return a.id < b.id; });
  impl.added_by_content.clear();
  std::vector<AddedToken> first, second;
  for (size_t i = 0; i < impl.added.size(); ++i) {
    impl.added_by_content[impl.added[i].content] = i;
    impl.added_by_id[impl.added[i].id] = i;
    AddedToken& token = impl.added[i];
    token.normal = token.content;
    if (!token.normalized) {
      first.push_back(token);
      continue;
    }
    std::array<std::string, 2> buffers;
    token.normal = impl.normalizer.run(token.content, buffers);
    if (token.normal.empty())
      fail("{}: added_tokens: nothing is left of \"{}\" after normalization", impl.source, token.content);
    // Looked for in normalized text.
    second.push_back(token);
    second.back().content = token.normal;
  }
  impl.first = AddedTokenMatcher(std::move(first));
  impl.second = AddedTokenMatcher(std::move(second));
  if (impl.second.empty()) return;
  impl.marked.reset();
  // After a token that takes all that stands at the start, "first" would mean the part behind it as well.
  auto prepends = [](const Normalizer::Step& step) { return step.type == Normalizer::Step::Type::kPrepend; };
  auto first_only = [](const PreTokenizer::Stage& stage) {
    return stage.type == PreTokenizer::Stage::Type::kMetaspace &&
           stage.prepend_scheme == PreTokenizer::PrependScheme::kFirst;
  };
  const auto& steps = impl.normalizer.steps();
  const auto& stages = impl.pre.stages();
  if (std::any_of(steps.begin(), steps.end(), prepends) && std::any_of(stages.begin(), stages.end(), first_only))
    fail(
        "{}: the normalizer Prepend, the prepend_scheme \"first\" and added tokens with \"normalized\" are not known "
        "together",
        impl.source);
}

void TokenizerBuilder::set_text_parts(Tokenizer::Impl& impl, std::vector<Normalizer::Step> steps,
                                      std::vector<PreTokenizer::Stage> stages) {
  impl.normalizer = Normalizer(std::move(steps));
  drop_idle_stages(impl.normalizer, stages);
  impl.pre = PreTokenizer(stages, impl.source);
  if (impl.pre.byte_level()) return;
  bool marked = spaces_vanish(impl.normalizer, stages);
  impl.model.set_spelling(marked ? Spelling::kMarked : Spelling::kCharacters);
  if (marked) impl.marked = MarkedText::of(impl.normalizer, stages, impl.source);
  auto first_only = [](const PreTokenizer::Stage& stage) {
    return stage.type == PreTokenizer::Stage::Type::kMetaspace &&
           stage.prepend_scheme == PreTokenizer::PrependScheme::kFirst;
  };
  if (std::none_of(stages.begin(), stages.end(), first_only)) return;
  // For `tokenizers` a text whose first characters were replaced by fewer or more no longer begins at its beginning.
  auto one = [](std::string_view text) {
    return !text.empty() && decode_utf8(reinterpret_cast<const uint8_t*>(text.data())).size == text.size();
  };
  for (const Normalizer::Step& step : impl.normalizer.steps())
    if (step.type == Normalizer::Step::Type::kReplace && !(one(step.pattern) && one(step.content)))
      fail(
          "{}: the normalizer that replaces \"{}\" by \"{}\" and the prepend_scheme \"first\" are not known together; "
          "only "
          "one character for another is",
          impl.source, step.pattern, step.content);
}

Tokenizer TokenizerBuilder::from_json(std::string_view json, const std::string& source,
                                      std::shared_ptr<const void> keep) {
  simdjson::dom::parser parser;
  element root;
  if (auto error = parser.parse(json.data(), json.size()).get(root); error != simdjson::SUCCESS)
    fail("{}: not JSON that can be read: {}", source, simdjson::error_message(error));
  Node top{root, source};
  top.object();
  auto impl = std::make_shared<Tokenizer::Impl>();
  impl->source = source;
  if (top.has("version") && top.get("version").text() != "1.0")
    fail("{}: version \"{}\" is not known; \"1.0\" is", source, top.get("version").text());
  std::vector<Normalizer::Step> steps;
  std::vector<PreTokenizer::Stage> stages;
  if (top.has("normalizer")) steps = read_normalizer(top.get("normalizer"));
  if (top.has("pre_tokenizer")) stages = read_pre_tokenizer(top.get("pre_tokenizer"));
  set_text_parts(*impl, std::move(steps), std::move(stages));
  impl->byte_level_decoder = false;
  if (top.has("decoder")) {
    std::vector<Decoder::Step> decoder = read_decoder(top.get("decoder"));
    impl->byte_level_decoder = decoder.size() == 1 && decoder[0].type == Decoder::Step::Type::kByteLevel;
    if (!impl->byte_level_decoder) impl->decoder.emplace(std::move(decoder));
  }
  read_model(top.get("model"), impl->model);
  if (top.has("added_tokens")) {
    Node list = top.get("added_tokens");
    std::vector<AddedToken> tokens;
    size_t i = 0;
    for (element e : list.array()) {
      Node node{e, fmt::format("{}[{}]", list.where, i++)};
      AddedToken token;
      token.id = static_cast<int32_t>(small_id(node.get("id"), impl->model.vocab_size() + (1u << 20)));
      token.content = node.get("content").text();
      token.single_word = node.flag("single_word", false);
      token.lstrip = node.flag("lstrip", false);
      token.rstrip = node.flag("rstrip", false);
      token.special = node.flag("special", false);
      token.normalized = node.flag("normalized", !token.special);
      tokens.push_back(std::move(token));
    }
    add_tokens(*impl, std::move(tokens));
  }
  Tokenizer out;
  if (top.has("post_processor")) read_post_processor(top.get("post_processor"), out.prefix_, out.suffix_);
  if (top.has("truncation")) impl->truncation = read_truncation(top.get("truncation"));
  if (top.has("padding")) impl->padding = read_padding(top.get("padding"));
  impl->json = json;
  impl->json_keep = std::move(keep);
  out.impl_ = impl;
  return out;
}

namespace {

/** transformers keeps it in a file of its own, or in tokenizer_config.json as a text or as a list with names. */
std::string find_chat_template(const nlohmann::json& config, const std::filesystem::path& file, bool& from_file) {
  std::error_code ignored;
  from_file = std::filesystem::is_regular_file(file, ignored);
  if (from_file) return read_text(file);
  auto found = config.find("chat_template");
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array())
    for (const auto& entry : *found)
      if (token_text(entry, "name") == "default") return token_text(entry, "template").value_or("");
  return "";
}

}  // namespace

void TokenizerBuilder::add_configured(Tokenizer::Impl& impl, const nlohmann::json& config, const std::string& file) {
  auto found = config.find("added_tokens_decoder");
  if (found == config.end() || found->is_null()) return;
  if (!found->is_object()) fail("{}: added_tokens_decoder: expected an object", file);
  std::map<int64_t, AddedToken> by_id;
  for (const auto& [key, entry] : found->items()) {
    int64_t id = -1;
    if (auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
        error != std::errc() || end != key.data() + key.size() || id < 0 || id >= BpeModel::kMaxIds)
      fail("{}: added_tokens_decoder: \"{}\" is not a token id", file, key);
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string())
      fail("{}: added_tokens_decoder.{}: expected an object with \"content\"", file, key);
    auto flag = [&](const char* name, bool otherwise) {
      if (!entry.contains(name) || entry[name].is_null()) return otherwise;
      if (!entry[name].is_boolean()) fail("{}: added_tokens_decoder.{}.{}: expected true or false", file, key, name);
      return entry[name].get<bool>();
    };
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = entry["content"].get<std::string>();
    token.single_word = flag("single_word", false);
    token.lstrip = flag("lstrip", false);
    token.rstrip = flag("rstrip", false);
    token.special = flag("special", false);
    token.normalized = flag("normalized", !token.special);
    auto same = impl.added_by_content.find(token.content);
    if (same != impl.added_by_content.end()) {
      const AddedToken& known = impl.added[same->second];
      token.id = known.id;  // the id of tokenizer.json counts
      if (known.single_word == token.single_word && known.lstrip == token.lstrip && known.rstrip == token.rstrip &&
          known.special == token.special && known.normalized == token.normalized)
        continue;
    }
    by_id.emplace(id, std::move(token));
  }
  if (by_id.empty()) return;
  std::vector<AddedToken> tokens;
  for (auto& [id, token] : by_id) tokens.push_back(std::move(token));
  add_tokens(impl, std::move(tokens));
  // What is saved, and what a cache of tokens is known by, has them as well.
  auto root = nlohmann::json::parse(impl.json, nullptr, false);
  if (root.is_discarded()) fail("{}: not JSON that can be written with the tokens of {}", impl.source, file);
  root["added_tokens"] = added_tokens_json(impl.added);
  auto text = std::make_shared<const std::string>(root.dump());
  impl.json = *text;
  impl.json_keep = text;
}

void TokenizerBuilder::read_configs(Tokenizer& tokenizer, const std::filesystem::path& folder) {
  auto impl = std::const_pointer_cast<Tokenizer::Impl>(tokenizer.impl_);
  auto read = [&](const char* name, std::string* keep) {
    std::filesystem::path path = folder / name;
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) return nlohmann::json::object();
    std::string text = read_json_text(path);
    refuse_lfs_pointer(text, path);
    auto json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_discarded()) {
      text = quote_python_numbers(text);
      json = nlohmann::json::parse(text, nullptr, false);
    }
    if (json.is_discarded() || !json.is_object()) fail("{}: not a JSON object", path.string());
    if (keep) *keep = std::move(text);
    return json;
  };
  nlohmann::json config = read("tokenizer_config.json", &impl->config_json);
  impl->chat_template = find_chat_template(config, folder / "chat_template.jinja", impl->chat_template_file);
  add_configured(*impl, config, (folder / "tokenizer_config.json").string());
  nlohmann::json map = read("special_tokens_map.json", &impl->special_map_json);
  nlohmann::json model = read("config.json", nullptr);
  auto find = [&](const std::string& name, std::optional<int32_t>& id) {
    std::string key = name + "_token";
    for (const nlohmann::json* json : {&config, &map}) {
      auto text = token_text(*json, key.c_str());
      if (!text) continue;
      id = tokenizer.token_to_id(*text);
      if (!id) fail("{}: {} is \"{}\", which tokenizer.json does not hold", folder.string(), key, *text);
      return;
    }
    auto it = model.find(key + "_id");
    if (it == model.end()) return;
    const nlohmann::json& value = it->is_array() && !it->empty() ? (*it)[0] : *it;
    if (!value.is_number_integer()) return;
    auto number = value.get<int64_t>();
    if (number >= 0 && number < tokenizer.vocab_size()) id = static_cast<int32_t>(number);
  };
  find("bos", tokenizer.bos_);
  find("eos", tokenizer.eos_);
  find("pad", tokenizer.pad_);
}

std::map<std::string, std::string> Tokenizer::special_tokens() const {
  std::map<std::string, std::string> out;
  const auto config = nlohmann::json::parse(impl_->config_json, nullptr, false);
  const auto map = nlohmann::json::parse(impl_->special_map_json, nullptr, false);
  for (const char* name : {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}) {
    const std::string key = std::string(name) + "_token";
    auto text = token_text(config, key.c_str());
    if (!text) text = token_text(map, key.c_str());
    // A file that says null means it.
    const bool named = (config.is_object() && config.contains(key)) || (map.is_object() && map.contains(key));
    std::optional<int32_t> id;
    if (key == "bos_token") id = bos_;
    if (key == "eos_token") id = eos_;
    if (key == "pad_token") id = pad_;
    if (key == "unk_token") id = impl_->gguf.unk;
    if (!text && !named && id) text = id_to_token(*id);
    if (text) out[key] = *text;
  }
  return out;
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& source) {
  auto keep = std::make_shared<const std::string>(json);
  return TokenizerBuilder::from_json(*keep, source, keep);
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  bool folder = std::filesystem::is_directory(path, ignored);
  if (!folder && path.extension() == ".gguf") return from_gguf(read_gguf_vocab(path));
  std::filesystem::path file = folder ? path / "tokenizer.json" : path;
  if (!std::filesystem::exists(file, ignored)) {
    if (folder) {
      fail("{}: holds no tokenizer.json; give a folder with one, a tokenizer.json or a .gguf file", path.string());
    } else {
      fail("{}: no such file; give a tokenizer.json, a folder holding one, or a .gguf file", path.string());
    }
  }
  auto mapped = MappedFile::open(file);
  refuse_lfs_pointer(mapped->text(), file);
  Tokenizer out = TokenizerBuilder::from_json(mapped->text(), file.string(), mapped);
  if (folder || file.filename() == "tokenizer.json")
    TokenizerBuilder::read_configs(out, folder ? path : file.parent_path());
  return out;
}

}  // namespace gavel
