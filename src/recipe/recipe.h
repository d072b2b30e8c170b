#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "recipe/data_files.h"
#include "rows/choices.h"
#include "spec/base_storage.h"

namespace gavel {

/** All settings of a run. Names, defaults, limits and help texts: recipe_keys(). Paths are as given: relative
 * ones are relative to the current folder, not to the recipe's. */
struct Recipe {
  enum class TaskKind : uint8_t { kJudge, kReward };
  /** How a judge reads a pair: both answers in one text, or each with the prompt by itself. */
  enum class JudgeForm : uint8_t { kJoint, kSiamese };
  enum class RewardTies : uint8_t { kDavidson, kNone };
  enum class RewardLoss : uint8_t { kPairs, kRegression, kBce };
  enum class BaseType : uint8_t { kBFloat16, kFloat16, kFloat32, kInt8, kNf4, kGguf };
  enum class ComputeType : uint8_t { kAuto, kBFloat16, kFloat16, kFloat32 };
  /** What the head starts from; kAuto = the base's own where it has one, else kFresh. */
  enum class Head : uint8_t { kAuto, kBase, kFresh, kShares, kLabels };
  enum class Schedule : uint8_t { kCosine, kLinear, kConstant };
  enum class Layers : uint8_t { kAuto, kScan, kUnrolled };
  /** What the gradient of a scan computes again. */
  enum class Recompute : uint8_t { kAuto, kAll, kAttention, kNone };
  enum class Kernels : uint8_t { kAuto, kPlain };
  enum class Resume : uint8_t { kNever, kAuto };

  /** What is trained: a judge of pairs, or a reward of single answers. */
  TaskKind task = TaskKind::kJudge;

  struct Judge {
    JudgeForm form = JudgeForm::kJoint;
    bool operator==(const Judge&) const = default;
  } judge;

  struct Reward {
    RewardLoss loss = RewardLoss::kPairs;
    RewardTies ties = RewardTies::kDavidson;
    double center_coefficient = 0;
    double score_margin = 0;
    bool operator==(const Reward&) const = default;
  } reward;

  struct Model {
    std::string path;
    std::optional<std::string> tokenizer;
    BaseType dtype = BaseType::kBFloat16;
    int64_t group_size = 64;
    ComputeType compute_dtype = ComputeType::kAuto;
    int64_t num_labels = 3;
    Head head = Head::kAuto;
    bool random_init = false;
    bool operator==(const Model&) const = default;

    /** What `dtype` and `group_size` mean; what is not quantised is then in bfloat16. */
    BaseStorage storage() const;
  } model;

  struct Lora {
    int64_t r = 4;
    double lora_alpha = 8;
    double lora_dropout = 0.05;
    std::vector<std::string> target_modules = {"o_proj", "v_proj"};
    bool use_rslora = false;
    bool use_dora = false;
    bool freeze_head = false;
    std::optional<std::string> init_adapter;
    double lora_plus_ratio = 1;
    double layer_decay = 1;
    std::optional<std::vector<int64_t>> layers_to_transform;
    bool operator==(const Lora&) const = default;
  } lora;

  /** Column names of a file of format generic; `weight` and `margin` of any, the teacher's and `auxiliary` (one of A and one
   * of B, or none) of any of pairs, `score` of format scored. */
  struct Columns {
    std::optional<std::string> id, prompt, response_a, response_b, label_a, label_b, label_tie, winner, weight, margin,
        score, teacher_a, teacher_b, teacher_tie;
    std::vector<std::string> auxiliary;
    bool operator==(const Columns&) const = default;
  };

  /** What the column `winner` says, beside the spellings that are known. */
  struct Spellings {
    std::vector<std::string> a, b, tie;
    bool operator==(const Spellings&) const = default;
  };

  struct Data {
    DataFiles train;
    /** A share of train (0 = none), or a file. */
    std::variant<double, std::string> valid = 0.05;
    /** With folds, fold number `fold` (from 0) of train is for validation, whatever the share in `valid`. */
    std::optional<int64_t> folds;
    int64_t fold = 0;
    /** Rows with prompts of these files are left out of train, and with the next also those with prompts of `valid`. */
    std::optional<DataFiles> exclude;
    bool exclude_valid_prompts = false;
    Format format = Format::kLmsys;
    Columns columns;
    Spellings spellings;
    /** How much a teacher's shares count beside the vote, where data.columns names them. */
    double teacher_weight = 0.5;
    double fraction = 1.0;
    Cells cells = Cells::kJson;
    /** "origin", "turns", "chat", "llama3", "chatml", or a text with {prompt}, {response_a} and {response_b}. */
    std::string text_template = "origin";
    /** "default", or a text; none = the text ends with the answers. */
    std::optional<std::string> question;
    int64_t max_length = 1024;
    Truncation truncation = Truncation::kRight;
    std::array<double, 3> proportional_shares = {0.2, 0.4, 0.4};
    Batching batching = Batching::kPadded;
    int64_t pad_to = 0;
    bool balance = false;
    bool share_prompts = true;
    Swap swap = Swap::kNone;
    Curriculum curriculum = Curriculum::kNone;
    bool drop_before_shuffle = false;
    bool drop_duplicates = false;
    double max_dropped = 0.05;
    int64_t max_cell_bytes = kMostCellBytes;
    bool strict = false;
    bool cache = true;
    bool operator==(const Data&) const = default;
  } data;

  struct Train {
    int64_t epochs = 1;
    std::optional<int64_t> max_steps;
    int64_t batch_size = 16;
    int64_t gradient_accumulation = 1;
    double learning_rate = 5e-5;
    std::optional<double> head_learning_rate;
    int64_t head_only_steps = 0;
    double weight_decay = 0.01;
    double adam_beta1 = 0.9;
    double adam_beta2 = 0.999;
    double adam_epsilon = 1e-8;
    int64_t warmup_steps = 128;
    Schedule schedule = Schedule::kCosine;
    std::optional<double> max_grad_norm;
    double label_smoothing = 0;
    double auxiliary_weight = 0.1;
    int64_t seed = 2024;
    Layers layers = Layers::kAuto;
    Recompute recompute = Recompute::kAuto;
    Kernels kernels = Kernels::kAuto;
    bool deterministic = false;
    int64_t log_every = 200;
    std::optional<double> max_loss;
    bool skip_nonfinite = false;
    double loss_scale = 65536;
    int64_t eval_every = 0;
    bool eval_at_start = true;
    int64_t early_stopping_patience = 0;
    double early_stopping_threshold = 0;
    bool load_best_at_end = false;
    int64_t save_every = 0;
    int64_t keep_last = 2;
    Resume resume = Resume::kNever;
    bool tensorboard = true;
    /** Steps `start` to `start` + `steps` - 1, counted from 1, are recorded; 0 steps: none. */
    struct Profile {
      int64_t start = 3;
      int64_t steps = 0;
      bool operator==(const Profile&) const = default;
    } profile;
    bool operator==(const Train&) const = default;
  } train;

  /** Sizes of the mesh's axes; one of them may be -1, all devices that the others leave. */
  struct Mesh {
    int64_t dp = 1;
    int64_t fsdp = -1;
    int64_t mp = 1;
    std::optional<std::string> rules;
    bool operator==(const Mesh&) const = default;
  } mesh;

  std::string device = "cpu";
  std::string output = "runs/demo";

  /** Whether the model reads each answer by itself, not a row's two in one text. */
  bool reads_single_answers() const { return task == TaskKind::kReward || judge.form == JudgeForm::kSiamese; }

  bool operator==(const Recipe&) const = default;
};

/** Whether a file is read as data.columns says. */
bool reads_generic(const Recipe& recipe);

/** A choice as the recipe spells it, such as "bucketed". Defined for Recipe's enums and those of rows/choices.h. */
template <class Choice>
std::string_view choice_name(Choice choice);

/** Reads a recipe, of which "recipes/NAME" is Gavel's own where there is no such file, and sets `overrides` ("section.key=value", in order, the last of a key wins) over it.
 * Throws one Error with a line per problem: "FILE:LINE: section.key: what was expected, what was found" (the
 * place is "command line" for overrides). Problems are: broken YAML, unknown and repeated keys (with the
 * nearest valid one), wrong types, impossible values, settings that contradict each other, and required keys
 * that are missing. On the command line texts need no quotes; lists are written [a, b]. */
Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});

/** The same for a text; `name` stands for the file in messages. */
Recipe parse_recipe(std::string_view text, std::string_view name, const std::vector<std::string>& overrides = {});

/** All settings as YAML; parse_recipe gives an equal recipe back. */
std::string to_yaml(const Recipe& recipe);

/** Steps of warm-up in a run of `total_steps`: train.warmup_steps, or all steps where they are fewer. */
int64_t warmup_steps(const Recipe& recipe, int64_t total_steps);
/** One line where the warm-up is cut to the run; else "". */
std::string warmup_note(const Recipe& recipe, int64_t total_steps);

/** A key as help and documentation describe it. */
struct RecipeKey {
  std::string key;            // "train.learning_rate"
  std::string type;           // "number", "integer", "text", "true or false", "choice", "list of …"
  std::string default_value;  // as YAML; "" when required
  bool required = false;
  std::vector<std::string> choices;  // empty unless only these are allowed
  std::string range;                 // "0 or more", or ""
  std::string help;
  bool free = false;  // may change when a run is resumed: no number that is computed depends on it
};

/** Every key with its value as YAML, in the order of to_yaml. */
std::vector<std::pair<std::string, std::string>> recipe_values(const Recipe& recipe);

/** Every key, in the order of to_yaml. Parsing, checks, help and the documentation's table are made from it.
 */
std::vector<RecipeKey> recipe_keys();

/** For --help: a line or two per key, grouped by section. */
std::string recipe_help();

/** For the documentation: a Markdown table of all keys. */
std::string recipe_markdown();

}  // namespace gavel
