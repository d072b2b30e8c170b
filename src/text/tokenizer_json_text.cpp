// The sections of tokenizer.json that say how a text becomes pieces, and how tokens become a text again.
#include <algorithm>
#include <array>

#include "pieces/unicode.h"
#include "text/json_node.h"
#include "text/tokenizer_impl.h"

namespace gavel {
namespace {

using Node = JsonNode;
using simdjson::dom::element;

constexpr int kDeepest = 16;

PreTokenizer::Stage read_split(const Node& node) {
  PreTokenizer::Stage stage;
  stage.type = PreTokenizer::Stage::Type::kSplit;
  Node pattern = node.get("pattern");
  stage.is_regex = pattern.has("Regex");
  if (!stage.is_regex && !pattern.has("String")) fail("{}: expected the key \"Regex\" or \"String\"", pattern.where);
  stage.pattern = pattern.get(stage.is_regex ? "Regex" : "String").text();
  stage.invert = node.flag("invert", false);
  using enum PreTokenizer::Behavior;
  constexpr std::array<std::pair<std::string_view, PreTokenizer::Behavior>, 5> kNames{
      {{"Isolated", kIsolated},
       {"Removed", kRemoved},
       {"MergedWithPrevious", kMergedWithPrevious},
       {"MergedWithNext", kMergedWithNext},
       {"Contiguous", kContiguous}}};
  std::string_view name = node.get("behavior").text();
  auto found = std::find_if(kNames.begin(), kNames.end(), [&](auto& n) { return n.first == name; });
  if (found == kNames.end()) fail("{}.behavior: \"{}\" is not known", node.where, name);
  stage.behavior = found->second;
  return stage;
}

PreTokenizer::PrependScheme read_prepend_scheme(const Node& node) {
  using enum PreTokenizer::PrependScheme;
  PreTokenizer::PrependScheme scheme = kAlways;
  if (node.has("prepend_scheme")) {
    std::string_view name = node.get("prepend_scheme").text();
    if (name != "always" && name != "first" && name != "never")
      fail("{}.prepend_scheme: \"{}\" is not known; always, first and never are", node.where, name);
    scheme = name == "always" ? kAlways : name == "first" ? kFirst : kNever;
  }
  // The older way to say it, which `tokenizers` takes where the two agree.
  if (!node.flag("add_prefix_space", true) && scheme != kNever)
    fail("{}.add_prefix_space: false does not agree with the prepend_scheme, which must be \"never\" then", node.where);
  return scheme;
}

std::string read_character(const Node& node) {
  std::string_view text = node.text();
  if (text.empty() || decode_utf8(reinterpret_cast<const uint8_t*>(text.data())).size != text.size())
    fail("{}: \"{}\" is not one character", node.where, text);
  return std::string(text);
}

PreTokenizer::Stage read_metaspace(const Node& node) {
  PreTokenizer::Stage stage;
  stage.type = PreTokenizer::Stage::Type::kMetaspace;
  stage.pattern = read_character(node.get("replacement"));
  stage.prepend_scheme = read_prepend_scheme(node);
  stage.split = node.flag("split", true);
  return stage;
}

void read_stages(const Node& node, std::vector<PreTokenizer::Stage>& stages, int depth = 0) {
  std::string type = node.type();
  if (type == "Sequence") {
    if (depth > kDeepest) fail("{}: nested too deeply", node.where);
    Node list = node.get("pretokenizers");
    size_t i = 0;
    for (element e : list.array()) read_stages({e, fmt::format("{}[{}]", list.where, i++)}, stages, depth + 1);
  } else if (type == "Split") {
    stages.push_back(read_split(node));
  } else if (type == "Digits") {
    PreTokenizer::Stage stage;
    stage.type = PreTokenizer::Stage::Type::kDigits;
    stage.individual = node.get("individual_digits").truth();
    stages.push_back(stage);
  } else if (type == "ByteLevel") {
    PreTokenizer::Stage stage;
    stage.prefix_space = node.get("add_prefix_space").truth();
    stage.use_regex = node.flag("use_regex", true);
    stages.push_back(stage);
  } else if (type == "Metaspace") {
    stages.push_back(read_metaspace(node));
  } else {
    fail("{}: the pre-tokenizer \"{}\" is not known; ByteLevel, Split, Digits, Metaspace and Sequence are", node.where,
         type);
  }
}

// "pattern" of Replace; only plain text is known.
std::string read_replaced(const Node& node) {
  Node pattern = node.get("pattern");
  if (!pattern.has("String"))
    fail("{}: expected {{\"String\": text}}; Replace with a regular expression is not known", pattern.where);
  std::string_view text = pattern.get("String").text();
  if (text.empty()) fail("{}: the text to replace is empty", pattern.where);
  return std::string(text);
}

void read_steps(const Node& node, std::vector<Normalizer::Step>& steps, int depth = 0) {
  using Type = Normalizer::Step::Type;
  std::string type = node.type();
  if (type == "Sequence") {
    if (depth > kDeepest) fail("{}: nested too deeply", node.where);
    Node list = node.get("normalizers");
    size_t i = 0;
    for (element e : list.array()) read_steps({e, fmt::format("{}[{}]", list.where, i++)}, steps, depth + 1);
  } else if (type == "Replace") {
    steps.push_back({Type::kReplace, read_replaced(node), std::string(node.get("content").text())});
  } else if (type == "Prepend") {
    steps.push_back({Type::kPrepend, "", std::string(node.get("prepend").text())});
  } else if (type == "NFC" || type == "NFKC") {
    steps.push_back({type == "NFC" ? Type::kNfc : Type::kNfkc, "", ""});
  } else {
    fail("{}: the normalizer \"{}\" is not known; Replace, Prepend, NFC, NFKC and Sequence are", node.where, type);
  }
}

void read_decoders(const Node& node, std::vector<Decoder::Step>& steps, int depth = 0) {
  using Type = Decoder::Step::Type;
  std::string type = node.type();
  Decoder::Step step;
  if (type == "Sequence") {
    if (depth > kDeepest) fail("{}: nested too deeply", node.where);
    Node list = node.get("decoders");
    size_t i = 0;
    for (element e : list.array()) read_decoders({e, fmt::format("{}[{}]", list.where, i++)}, steps, depth + 1);
    return;
  }
  if (type == "Replace") {
    step.type = Type::kReplace;
    step.pattern = read_replaced(node);
    step.content = node.get("content").text();
  } else if (type == "Strip") {
    step.type = Type::kStrip;
    step.pattern = read_character(node.get("content"));
    step.start = node.get("start").number();
    step.stop = node.get("stop").number();
  } else if (type == "Metaspace") {
    step.type = Type::kMetaspace;
    step.pattern = read_character(node.get("replacement"));
    step.drop_first = read_prepend_scheme(node) != PreTokenizer::PrependScheme::kNever;
  } else if (type == "ByteFallback" || type == "Fuse" || type == "ByteLevel") {
    step.type = type == "Fuse" ? Type::kFuse : type == "ByteLevel" ? Type::kByteLevel : Type::kByteFallback;
  } else {
    fail(
        "{}: the decoder \"{}\" is not known; ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence "
        "are",
        node.where, type);
  }
  steps.push_back(std::move(step));
}

}  // namespace

std::vector<Normalizer::Step> read_normalizer(const JsonNode& node) {
  std::vector<Normalizer::Step> steps;
  read_steps(node, steps);
  return steps;
}

std::vector<PreTokenizer::Stage> read_pre_tokenizer(const JsonNode& node) {
  std::vector<PreTokenizer::Stage> stages;
  read_stages(node, stages);
  return stages;
}

std::vector<Decoder::Step> read_decoder(const JsonNode& node) {
  std::vector<Decoder::Step> steps;
  read_decoders(node, steps);
  return steps;
}

}  // namespace gavel
