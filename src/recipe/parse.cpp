#include <fmt/ranges.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own_files.h"
#include "recipe/fields.h"
#include "recipe/yaml_advice.h"

namespace gavel {

namespace {

using detail::Field;
using detail::RawValue;

// No recipe is near this; a file given by mistake is refused before the YAML library sees it.
constexpr size_t kLargestRecipe = 1 << 20;

RawValue scalar_value(const YAML::Node& node) {
  RawValue raw;
  if (node.IsNull()) return raw;
  // The library's tag is "?" for plain scalars and "!" for quoted ones.
  bool text = node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str";
  raw.kind = text ? RawValue::Kind::kQuoted : RawValue::Kind::kPlain;
  raw.text = node.Scalar();
  return raw;
}

/** A mapping's single values; what is deeper has no content. */
RawValue map_value(const YAML::Node& node) {
  RawValue raw{.kind = RawValue::Kind::kMap};
  for (const auto& entry : node) {
    RawValue value;
    if (entry.second.IsScalar() || entry.second.IsNull())
      value = scalar_value(entry.second);
    else
      value.kind = entry.second.IsMap() ? RawValue::Kind::kMap : RawValue::Kind::kList;
    if (entry.first.IsScalar()) value.key = entry.first.Scalar();
    raw.items.push_back(std::move(value));
  }
  return raw;
}

size_t bytes_of(const RawValue& value) {
  size_t bytes = value.text.size();
  for (const RawValue& item : value.items) bytes += item.key.size() + item.text.size() + 1;
  return bytes;
}

RawValue raw_value(const YAML::Node& node) {
  if (node.IsMap()) return map_value(node);
  if (!node.IsSequence()) return scalar_value(node);
  RawValue raw{.kind = RawValue::Kind::kList};
  size_t kept = 0;
  for (const YAML::Node& item : node) {
    // Aliases can name a long text, or a mapping of many, again and again.
    if (!raw.items.empty()) kept += bytes_of(raw.items.back());
    if (kept > kLargestRecipe) fail("a list of more than {} bytes", kLargestRecipe);
    if (item.IsSequence()) {
      raw.items.push_back({.kind = RawValue::Kind::kList});
    } else if (item.IsMap()) {
      raw.items.push_back(map_value(item));
    } else {
      raw.items.push_back(scalar_value(item));
    }
  }
  return raw;
}

/** Takes no notice of what a document holds. */
class IgnoreEvents : public YAML::EventHandler {
  using Mark = YAML::Mark;
  using Anchor = YAML::anchor_t;
  using Style = YAML::EmitterStyle::value;
  void OnDocumentStart(const Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const Mark&, Anchor) override {}
  void OnAlias(const Mark&, Anchor) override {}
  void OnScalar(const Mark&, const std::string&, Anchor, const std::string&) override {}
  void OnSequenceStart(const Mark&, const std::string&, Anchor, Style) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const Mark&, const std::string&, Anchor, Style) override {}
  void OnMapEnd() override {}
};

/** YAML::Load reads the first document only, and YAML::LoadAll (0.7) does not end on some broken texts, such
 * as
 * "- a\n, b": it finds empty documents for ever. */
bool has_second_document(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  IgnoreEvents ignore;
  return parser.HandleNextDocument(ignore) && parser.HandleNextDocument(ignore);
}

class Parser {
 public:
  explicit Parser(std::string_view name) : name_(name) {}

  void read_file(std::string_view text) {
    if (text.size() > kLargestRecipe) {
      problem(name_, "", fmt::format("expected a recipe of at most {} bytes, found {}", kLargestRecipe, text.size()));
      return;
    }
    if (!detail::is_utf8(text)) {
      problem(name_, "", "expected UTF-8 text; save the file in that encoding");
      return;
    }
    try {
      if (has_second_document(std::string(text))) {
        problem(name_, "", "expected one YAML document, found several (after a line of ---)");
        return;
      }
      read_map(YAML::Load(std::string(text)), "", name_);
      file_read_ = true;
    } catch (const YAML::Exception& error) {
      std::string at = error.mark.is_null() ? name_ : place_of(error.mark);
      const std::string why =
          error.mark.is_null() ? error.msg : detail::yaml_advice(text, static_cast<size_t>(error.mark.line), error.msg);
      problem(at, "", fmt::format("not valid YAML: {}", why));
    } catch (const std::exception& error) {
      problem(name_, "", fmt::format("not valid YAML: {}", error.what()));
    }
  }

  void read_override(const std::string& text) {
    const std::string at = "command line";
    size_t equals = text.find('=');
    if (!detail::is_utf8(text)) {
      problem(at, "", "expected UTF-8 text in section.key=value");
      return;
    }
    if (equals == std::string::npos || equals == 0) {
      problem(at, "", fmt::format("expected section.key=value, found '{}'", text.substr(0, 100)));
      return;
    }
    std::string key = text.substr(0, equals), value = text.substr(equals + 1);
    if (key == "mesh" && value == "auto") {
      set_auto_mesh(at);
      return;
    }
    const Field* field = detail::find_field(key);
    if (!field) {
      unknown(at, key);
      return;
    }
    RawValue raw;
    raw.from_command_line = true;
    bool yaml = !value.empty() && (value[0] == '[' || value[0] == '"' || value[0] == '\'' || value[0] == '{');
    if (yaml) {
      try {
        raw = raw_value(YAML::Load(value));
      } catch (const std::exception&) {
        problem(at, key, fmt::format("'{}' is not a valid YAML value", value.substr(0, 100)));
        return;
      }
    } else if (!value.empty() && value != "null" && value != "~") {
      raw.kind = RawValue::Kind::kPlain;
      raw.text = value;
    }
    set(*field, raw, at);
  }

  Recipe finish() {
    for (const Field& field : detail::recipe_fields())
      if (file_read_ && field.info.required && !places_.contains(field.info.key))
        problem(name_, field.info.key, fmt::format("is missing; it is {}", field.info.help));
    check_device();
    check_columns();
    check_extra_columns();
    check_files();
    check_folds();
    check_template();
    check_mesh();
    check_evaluations();
    check_task();
    check_start();
    check_storage();
    check_rates();
    if (!problems_.empty()) throw Error(fmt::format("{}", fmt::join(problems_, "\n")));
    return std::move(recipe_);
  }

 private:
  void problem(const std::string& at, const std::string& key, const std::string& text) {
    problems_.push_back(key.empty() ? fmt::format("{}: {}", at, text) : fmt::format("{}: {}: {}", at, key, text));
  }

  void unknown(const std::string& at, const std::string& key) {
    if (detail::is_section(key))
      problem(at, key, "is a section; set its keys one by one, as section.key=value");
    else
      problem(at, shortened(key), fmt::format("unknown key{}", detail::key_hint(key)));
  }

  static std::string shortened(const std::string& key) { return key.size() > 200 ? key.substr(0, 100) + "…" : key; }

  std::string place_of(const YAML::Mark& mark) const { return fmt::format("{}:{}", name_, mark.line + 1); }

  /** Where the first of these keys that the recipe sets was set, else the file. */
  template <class... Keys>
  std::string place(const Keys&... keys) const {
    for (const std::string& key : {std::string(keys)...})
      if (auto found = places_.find(key); found != places_.end()) return found->second;
    return name_;
  }

  void set(const Field& field, const RawValue& raw, const std::string& at) {
    places_[field.info.key] = at;
    if (std::string text = field.read(recipe_, raw); !text.empty())
      problem(at, field.info.key,
              raw.kind == RawValue::Kind::kPlain ? text + detail::missing_space_hint(raw.text) : text);
  }

  /** Both axes of copies and parts get what is left: which of them all of it is chosen when the devices are known. */
  void set_auto_mesh(const std::string& at) {
    recipe_.mesh.dp = recipe_.mesh.fsdp = -1;
    places_["mesh.dp"] = places_["mesh.fsdp"] = at;
  }

  void read_map(const YAML::Node& node, const std::string& section, const std::string& at) {
    if (node.IsNull()) return;  // a section whose keys are all commented out
    if (!node.IsMap()) {
      problem(at, section,
              fmt::format("expected keys with values, found {}{}", describe(raw_value(node)),
                          node.IsScalar() ? detail::missing_space_hint(node.Scalar()) : ""));
      return;
    }
    std::map<std::string, std::string> seen;
    for (const auto& entry : node) {
      std::string here = place_of(entry.first.Mark());
      if (!entry.first.IsScalar()) {
        problem(here, section, fmt::format("expected a key, found {}", describe(raw_value(entry.first))));
        continue;
      }
      std::string key = (section.empty() ? "" : section + ".") + entry.first.Scalar();
      if (auto [first, fresh] = seen.emplace(key, here); !fresh) {
        problem(here, shortened(key), fmt::format("is set twice; first at {}", first->second));
        continue;
      }
      // A key that itself has dots ("train.seed: 1") is not the nested one.
      bool dotted = entry.first.Scalar().find('.') != std::string::npos;
      if (const Field* field = detail::find_field(key); field && !dotted) {
        set(*field, raw_value(entry.second), here);
      } else if (key == "mesh" && entry.second.IsScalar() && entry.second.Scalar() == "auto") {
        set_auto_mesh(here);
      } else if (detail::is_section(key) && !dotted) {
        read_map(entry.second, key, here);
      } else if (dotted && field) {
        problem(here, key, fmt::format("write it as '{}:' below '{}:'", detail::leaf_of(key), detail::section_of(key)));
      } else {
        unknown_in_file(here, key);
      }
    }
  }

  void unknown_in_file(const std::string& at, const std::string& key) {
    problem(at, shortened(key), fmt::format("unknown key{}", detail::key_hint(key)));
  }

  void check_device() {
    const std::string& device = recipe_.device;
    const std::vector<std::string> names = {"cpu", "cuda", "tpu"};
    bool path = device.find('/') != std::string::npos || device.ends_with(".so");
    if (!path && std::find(names.begin(), names.end(), device) == names.end())
      problem(place("device"), "device",
              fmt::format("expected cpu, cuda, tpu or the path of a PJRT plugin, found '{}'{}", shortened(device),
                          device == "gpu" ? " (did you mean 'cuda'?)" : did_you_mean(shortened(device), names)));
  }

  void check_task() {
    const bool siamese = recipe_.judge.form == Recipe::JudgeForm::kSiamese;
    if (siamese && recipe_.task != Recipe::TaskKind::kJudge)
      problem(place("judge.form"), "judge.form", "is for task: judge; a reward reads each answer by itself as it is");
    if (recipe_.reads_single_answers() && recipe_.data.swap != Swap::kNone)
      problem(place("data.swap"), "data.swap",
              fmt::format("expected none with {}, which reads each answer by itself; found {}",
                          siamese ? "judge.form: siamese" : "task: reward", choice_name(recipe_.data.swap)));
    check_reward();
  }

  void check_reward() {
    const Recipe::Reward& reward = recipe_.reward;
    const Recipe::Data& data = recipe_.data;
    const bool single = recipe_.task == Recipe::TaskKind::kReward && reward.loss != Recipe::RewardLoss::kPairs;
    if (recipe_.task != Recipe::TaskKind::kReward)
      for (auto [key, set] : {std::pair{"reward.loss", reward.loss != Recipe::RewardLoss::kPairs},
                              {"reward.score_margin", reward.score_margin > 0},
                              {"data.columns.margin", data.columns.margin.has_value()}})
        if (set) problem(place(key), key, "is for task: reward");
    if (data.format == Format::kScored && !single)
      problem(place("data.format"), "data.format",
              "scored is for task: reward with reward.loss: regression or bce; pairs of answers have another format");
    if (data.columns.score && data.format != Format::kScored)
      problem(place("data.columns.score"), "data.columns.score", "is for data.format: scored");
    if (single) {
      const std::string why = fmt::format("has no meaning with reward.loss: {}", choice_name(reward.loss));
      if (data.columns.margin) problem(place("data.columns.margin"), "data.columns.margin", why);
      if (reward.score_margin > 0) problem(place("reward.score_margin"), "reward.score_margin", why);
      if (reward.center_coefficient > 0) problem(place("reward.center_coefficient"), "reward.center_coefficient", why);
      if (recipe_.train.label_smoothing > 0) problem(place("train.label_smoothing"), "train.label_smoothing", why);
    }
    if (reward.score_margin > 0) {
      if (data.columns.margin)
        problem(place("reward.score_margin", "data.columns.margin"), "reward.score_margin",
                "gives margins, and so does data.columns.margin: set one of them");
      if (data.format != Format::kChosen && data.format != Format::kRanked && data.format != Format::kHelpSteer3)
        problem(
            place("reward.score_margin"), "reward.score_margin",
            fmt::format("needs scores of answers (data.format: chosen, ranked or helpsteer3), found data.format: {}",
                        choice_name(data.format)));
    }
  }

  void check_storage() {
    const auto& model = recipe_.model;
    if (model.group_size != 32 && model.group_size != 64 && model.group_size != 128)
      problem(place("model.group_size"), "model.group_size",
              fmt::format("expected 32, 64 or 128, found {}", model.group_size));
    else if (model.dtype == Recipe::BaseType::kNf4 && model.group_size != 64)
      problem(place("model.group_size"), "model.group_size",
              fmt::format("is of int8; blocks of nf4 are of 64, found {}", model.group_size));
    if (model.dtype == Recipe::BaseType::kGguf && model.random_init)
      problem(place("model.dtype"), "model.dtype",
              "gguf takes the weights as a GGUF file holds them; with model.random_init there is no file: set int8 or "
              "nf4 for a base of about that size");
  }

  /** What the head starts from, and the question that its labels answer. */
  void check_start() {
    using enum Recipe::Head;
    const Recipe::Head head = recipe_.model.head;
    const bool single = recipe_.reads_single_answers(), own = head == kShares || head == kLabels;
    const bool asks = recipe_.data.question.has_value();
    const std::string at = place("model.head");
    if (head == kLabels && single)
      problem(
          at, "model.head",
          "labels are the answers A, B and tie to a text with both answers (judge.form: joint); where each answer is "
          "read by itself use shares");
    else if (head == kLabels && !asks && recipe_.data.text_template.find('{') == std::string::npos)
      problem(at, "model.head",
              "labels needs a text that ends with a question: set data.question=default, or one of your own");
    if (own && recipe_.lora.init_adapter)
      problem(at, "model.head",
              fmt::format("expected auto with lora.init_adapter, whose head is taken; found {}", choice_name(head)));
    if (head == kShares && recipe_.lora.freeze_head)
      problem(place("lora.freeze_head"), "lora.freeze_head", "a head of zeros (model.head: shares) has to be trained");
    if (asks && single)
      problem(place("data.question"), "data.question",
              "is asked of task: judge with judge.form: joint; a text of one answer ends with that answer");
    if (asks && recipe_.data.truncation == Truncation::kRight)
      problem(place("data.question", "data.truncation"), "data.question",
              "stands at the text's end, which data.truncation: right cuts off: set data.truncation=proportional or "
              "left");
  }

  void check_rates() {
    const Recipe::Train& train = recipe_.train;
    for (auto [key, set] : {std::pair{"train.head_learning_rate", train.head_learning_rate.has_value()},
                            {"train.head_only_steps", train.head_only_steps > 0}})
      if (set && recipe_.lora.freeze_head)
        problem(place(key, "lora.freeze_head"), key, "is of a head that is trained, found lora.freeze_head: true");
    // The head's rate follows the schedule as a multiple of the other.
    if (train.head_learning_rate && train.learning_rate == 0)
      problem(place("train.head_learning_rate"), "train.head_learning_rate",
              "needs a train.learning_rate above 0; to train the head alone set train.head_only_steps to the run's "
              "steps");
    const bool recomputes =
        train.recompute == Recipe::Recompute::kAll || train.recompute == Recipe::Recompute::kAttention;
    if (recomputes && train.layers == Recipe::Layers::kUnrolled)
      problem(place("train.recompute", "train.layers"), "train.recompute",
              fmt::format("is of layers in a scan; those of train.layers: unrolled keep all that their gradients read: "
                          "expected auto or none, or train.layers: scan; found {}",
                          choice_name(train.recompute)));
    if (recipe_.lora.layers_to_transform && recipe_.lora.use_dora)
      problem(place("lora.layers_to_transform"), "lora.layers_to_transform",
              "is not for lora.use_dora: true, which trains magnitudes in all layers");
  }

  void check_columns() {
    const Recipe::Columns& columns = recipe_.data.columns;
    std::string at = place("data.format", "data.columns.prompt", "data.columns.response_a");
    if (!reads_generic(recipe_)) {
      Recipe::Columns of_generic = columns;
      of_generic.weight.reset();
      of_generic.margin.reset();
      of_generic.score.reset();
      of_generic.teacher_a = of_generic.teacher_b = of_generic.teacher_tie = std::nullopt;
      of_generic.auxiliary.clear();
      if (of_generic != Recipe::Columns{})
        problem(at, "data.columns",
                fmt::format(
                    "is for data.format: generic only (but for weight, margin, score, the teacher's and auxiliary), "
                    "found data.format: {}",
                    choice_name(recipe_.data.format)));
      return;
    }
    if (!columns.prompt || !columns.response_a || !columns.response_b)
      problem(at, "data.columns", "data.format: generic needs the columns prompt, response_a and response_b");
    // Files without votes are for prediction: training asks for them when it opens its data.
    int labels = columns.label_a.has_value() + columns.label_b.has_value() + columns.label_tie.has_value();
    if (columns.winner ? labels > 0 : labels % 3 != 0)
      problem(at, "data.columns",
              "data.format: generic needs either the column winner, or label_a, label_b and label_tie");
  }

  /** Those of training alone. An adapter's recipe reads files of other formats too: whether rows can have them is seen when a
   * file is opened for training. */
  void check_extra_columns() {
    const Recipe::Columns& columns = recipe_.data.columns;
    const bool teacher = columns.teacher_a || columns.teacher_b || columns.teacher_tie;
    if (teacher && !(columns.teacher_a && columns.teacher_b))
      problem(place("data.columns.teacher_a", "data.columns.teacher_b", "data.columns.teacher_tie"),
              "data.columns.teacher_a", "a teacher has the columns teacher_a and teacher_b, and may have teacher_tie");
    if (!columns.auxiliary.empty() && columns.auxiliary.size() != 2)
      problem(place("data.columns.auxiliary"), "data.columns.auxiliary",
              fmt::format("expected two columns, of A and of B, found {}", columns.auxiliary.size()));
  }

  void check_files() {
    const auto& exclude = recipe_.data.exclude;
    for (const DataFile& file : exclude ? exclude->files : std::vector<DataFile>())
      if (file.weight != 1 || file.rows)
        problem(place("data.exclude"), "data.exclude", "a file has a path, a format and cells here, no weight or rows");
    if (recipe_.data.exclude_valid_prompts && !std::holds_alternative<std::string>(recipe_.data.valid))
      problem(place("data.exclude_valid_prompts"), "data.exclude_valid_prompts",
              "is for a file in data.valid; a share of train has prompts of its own anyway");
  }

  void check_folds() {
    const Recipe::Data& data = recipe_.data;
    std::string at = place("data.folds", "data.fold", "data.valid");
    if (!data.folds) {
      if (data.fold != 0) problem(at, "data.fold", "has no meaning without data.folds");
      return;
    }
    if (data.fold >= *data.folds)
      problem(at, "data.fold",
              fmt::format("expected 0 to {}, as data.folds is {}; found {}", *data.folds - 1, *data.folds, data.fold));
    if (std::holds_alternative<std::string>(data.valid))
      problem(at, "data.folds", "splits data.train; leave it out, or leave out the file in data.valid");
  }

  void check_template() {
    const std::string& text = recipe_.data.text_template;
    const std::vector<std::string> names = {"origin", "turns", "chat", "llama3", "chatml"};
    if (std::find(names.begin(), names.end(), text) != names.end()) return;
    const std::vector<std::string> placeholders =
        recipe_.reads_single_answers() ? std::vector<std::string>{"{prompt}", "{response}"}
                                       : std::vector<std::string>{"{prompt}", "{response_a}", "{response_b}"};
    for (const std::string& placeholder : placeholders)
      if (text.find(placeholder) == std::string::npos) {
        const std::string last = placeholders.back();
        problem(
            place("data.template"), "data.template",
            fmt::format("expected origin, turns, chat, llama3, chatml, or a text with {} and {}; found none of these "
                        "names, and no {}{}",
                        fmt::join(placeholders.begin(), placeholders.end() - 1, ", "), last, placeholder,
                        did_you_mean(shortened(text), names)));
        return;
      }
  }

  void check_mesh() {
    const Recipe::Mesh& mesh = recipe_.mesh;
    int rest = 0;
    for (auto [key, size] : {std::pair{"mesh.dp", mesh.dp}, {"mesh.fsdp", mesh.fsdp}, {"mesh.mp", mesh.mp}}) {
      if (size == 0) problem(place(key), key, "expected the number of devices, or -1; found 0");
      rest += size == -1;
    }
    const bool is_auto = mesh.mp != -1 && places_.contains("mesh.dp") && places_.contains("mesh.fsdp");
    if (rest > 1 && !is_auto)
      problem(
          place("mesh.dp", "mesh.mp", "mesh.fsdp"), "mesh",
          "only one axis can be -1 (all devices that the others leave), or dp and fsdp both, which is `mesh: auto`");
  }

  void check_evaluations() {
    const auto* share = std::get_if<double>(&recipe_.data.valid);
    bool without_rows = share != nullptr && *share == 0;
    bool stops = recipe_.train.early_stopping_patience > 0;
    for (auto [key, set] : {std::pair{"train.early_stopping_patience", stops},
                            {"train.load_best_at_end", recipe_.train.load_best_at_end}})
      if (set && without_rows) problem(place(key, "data.valid"), key, "needs validation rows, found data.valid: 0");
    if (stops && recipe_.train.eval_every == 0)
      problem(place("train.early_stopping_patience", "train.eval_every"), "train.early_stopping_patience",
              "needs evaluations on the way, found train.eval_every: 0");
  }

  std::string name_;
  Recipe recipe_;
  bool file_read_ = false;                     // else nothing can be said of what it lacks
  std::map<std::string, std::string> places_;  // of the keys that were set
  std::vector<std::string> problems_;
};

}  // namespace

Recipe parse_recipe(std::string_view text, std::string_view name, const std::vector<std::string>& overrides) {
  Parser parser(name);
  parser.read_file(text);
  for (const std::string& override_text : overrides) parser.read_override(override_text);
  return parser.finish();
}

Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  std::error_code error;
  std::optional<std::filesystem::path> own;
  // Those that come with Gavel are found from any folder.
  if (path.parent_path() == "recipes" && !std::filesystem::exists(path, error)) own = own_file(path.string());
  if (own) spdlog::info("recipe {}", own->string());
  const std::filesystem::path& found = own ? *own : path;
  auto file = MappedFile::open(found);
  return parse_recipe(file->text(), found.string(), overrides);
}

BaseStorage Recipe::Model::storage() const {
  switch (dtype) {
    case BaseType::kBFloat16:
      return {DType::kBF16, {}};
    case BaseType::kFloat16:
      return {DType::kF16, {}};
    case BaseType::kFloat32:
      return {DType::kF32, {}};
    case BaseType::kInt8:
      return {DType::kBF16, Quantisation{Quantisation::Codes::kInt8, group_size}};
    case BaseType::kNf4:
      return {DType::kBF16, Quantisation{Quantisation::Codes::kNf4, group_size}};
    case BaseType::kGguf:
      return {DType::kBF16, {}, true};
  }
  return {};
}

int64_t warmup_steps(const Recipe& recipe, int64_t total_steps) {
  return std::min(recipe.train.warmup_steps, total_steps);
}

std::string warmup_note(const Recipe& recipe, int64_t total_steps) {
  const int64_t warmup = recipe.train.warmup_steps;
  if (warmup <= total_steps) return "";
  // The usual twentieth; at least one step.
  return fmt::format(
      "train.warmup_steps: {} is more than the run's {} steps, and is cut to them; the learning rate does not reach "
      "its "
      "peak in this run: with train.warmup_steps={} it would",
      warmup, total_steps, std::min(total_steps, std::max<int64_t>(1, total_steps / 20)));
}

}  // namespace gavel
