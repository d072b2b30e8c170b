#include "recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "recipe/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Recipe, DefaultsAreThoseOfTheOrigin) {
  Recipe recipe = parse_recipe(with_required(""), "r.yaml");
  EXPECT_EQ(recipe.model.path, "m");
  EXPECT_EQ(recipe.model.storage(), (BaseStorage{DType::kBF16, {}}));
  EXPECT_EQ(recipe.model.compute_dtype, Recipe::ComputeType::kAuto);
  EXPECT_EQ(recipe.model.num_labels, 3);
  EXPECT_EQ(recipe.lora.r, 4);
  EXPECT_EQ(recipe.lora.lora_alpha, 8);
  EXPECT_EQ(recipe.lora.lora_dropout, 0.05);
  EXPECT_THAT(recipe.lora.target_modules, ElementsAre("o_proj", "v_proj"));
  EXPECT_FALSE(recipe.lora.freeze_head);
  EXPECT_EQ(std::get<double>(recipe.data.valid), 0.05);
  EXPECT_EQ(recipe.data.max_length, 1024);
  EXPECT_EQ(recipe.train.batch_size, 16);
  EXPECT_EQ(recipe.train.learning_rate, 5e-5);
  EXPECT_EQ(recipe.train.warmup_steps, 128);
  EXPECT_EQ(recipe.train.seed, 2024);
  EXPECT_FALSE(recipe.train.max_steps);
  EXPECT_EQ(recipe.train.layers, Recipe::Layers::kAuto);
  EXPECT_EQ(recipe.mesh.fsdp, -1);
  EXPECT_EQ(recipe.device, "cpu");
  EXPECT_EQ(recipe.output, "runs/demo");
}

TEST(Recipe, TheBaseMayBeQuantised) {
  using Codes = Quantisation::Codes;
  auto storage = [](const std::string& model) {
    return parse_recipe("model: {path: m, " + model + "}\ndata: {train: t.csv}\n", "r.yaml").model.storage();
  };
  EXPECT_EQ(storage("dtype: int8"), (BaseStorage{DType::kBF16, Quantisation{Codes::kInt8, 64}}));
  EXPECT_EQ(storage("dtype: int8, group_size: 128"), (BaseStorage{DType::kBF16, Quantisation{Codes::kInt8, 128}}));
  EXPECT_EQ(storage("dtype: nf4"), (BaseStorage{DType::kBF16, Quantisation{Codes::kNf4, 64}}));
  EXPECT_EQ(storage("dtype: bfloat16, group_size: 32"), (BaseStorage{DType::kBF16, {}}));
  EXPECT_EQ(storage("dtype: gguf"), (BaseStorage{DType::kBF16, {}, true}));
  EXPECT_NE(error_of(with_required(""), {"model.dtype=gguf", "model.random_init=true"}).find("there is no file"),
            std::string::npos);
  EXPECT_NE(error_of(with_required(""), {"model.group_size=48"}).find("expected 32, 64 or 128, found 48"),
            std::string::npos);
  EXPECT_NE(error_of(with_required(""), {"model.dtype=nf4", "model.group_size=128"}).find("blocks of nf4 are of 64"),
            std::string::npos);
}

TEST(Recipe, ReadsEveryKindOfValue) {
  Recipe recipe = parse_recipe(R"(
model:
  path: "models/a b"
  tokenizer: tok/tokenizer.json
  dtype: float32
  compute_dtype: bfloat16
  random_init: true
lora: {r: 16, lora_alpha: 32, lora_dropout: 0, target_modules: all-linear, use_rslora: true, freeze_head: true}
data:
  train: 'a.csv'
  valid: held_out.csv
  format: generic
  columns: {prompt: q, response_a: x, response_b: "y", winner: best}
  cells: text
  template: "Q {prompt}\nA {response_a}\nB {response_b}"
  truncation: proportional
  proportional_shares: [0.1, 0.45, 0.45]
  batching: packed
  swap: both
train: {max_steps: 500, learning_rate: 1e-3, max_grad_norm: 1, seed: 0, schedule: linear, layers: scan, resume: auto}
mesh: {dp: 2, fsdp: 4, mp: -1}
device: plugins/x.so
output: runs/a
)",
                               "r.yaml");
  EXPECT_EQ(recipe.model.path, "models/a b");
  EXPECT_EQ(recipe.model.tokenizer, "tok/tokenizer.json");
  EXPECT_EQ(recipe.model.dtype, Recipe::BaseType::kFloat32);
  EXPECT_TRUE(recipe.model.random_init);
  EXPECT_THAT(recipe.lora.target_modules,
              ElementsAre("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"));
  EXPECT_TRUE(recipe.lora.freeze_head);
  EXPECT_EQ(std::get<std::string>(recipe.data.valid), "held_out.csv");
  EXPECT_EQ(recipe.data.columns.response_b, "y");
  EXPECT_FALSE(recipe.data.columns.label_a);
  EXPECT_EQ(recipe.data.text_template, "Q {prompt}\nA {response_a}\nB {response_b}");
  EXPECT_EQ(recipe.data.proportional_shares[1], 0.45);
  EXPECT_EQ(recipe.data.batching, Batching::kPacked);
  EXPECT_EQ(recipe.train.max_steps, 500);
  EXPECT_EQ(recipe.train.learning_rate, 1e-3);
  EXPECT_EQ(recipe.train.max_grad_norm, 1.0);
  EXPECT_EQ(recipe.train.resume, Recipe::Resume::kAuto);
  EXPECT_EQ(recipe.mesh.mp, -1);
  EXPECT_EQ(recipe.device, "plugins/x.so");
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
}

TEST(Recipe, WhatWrittenOutLayersWouldComputeAgainIsRefused) {
  EXPECT_THAT(error_of(with_required("train: {layers: unrolled, recompute: attention}")),
              testing::AllOf(HasSubstr("train.recompute"), HasSubstr("or train.layers: scan; found attention")));
  EXPECT_EQ(parse_recipe(with_required("train: {layers: unrolled, recompute: none}"), "r").train.recompute,
            Recipe::Recompute::kNone);
  EXPECT_EQ(parse_recipe(with_required("train: {recompute: all}"), "r").train.recompute, Recipe::Recompute::kAll);
}

TEST(Recipe, AMeshCanBeLeftOpen) {
  const std::string start = "model: {path: m}\ndata: {train: a.csv}\noutput: o\n";
  for (const Recipe& recipe :
       {parse_recipe(start + "mesh: auto", "r.yaml"), parse_recipe(start, "r.yaml", {"mesh=auto"})}) {
    EXPECT_EQ(recipe.mesh.dp, -1);
    EXPECT_EQ(recipe.mesh.fsdp, -1);
    EXPECT_EQ(recipe.mesh.mp, 1);
    EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
  }
  EXPECT_EQ(parse_recipe(start + "mesh: auto", "r.yaml", {"mesh.dp=1"}).mesh.dp, 1);
}

TEST(Recipe, LayersAreNumbersAndRanges) {
  auto layers = [](const std::string& text) {
    return parse_recipe(with_required("lora: {layers_to_transform: " + text + "}"), "r").lora.layers_to_transform;
  };
  EXPECT_EQ(layers("null"), std::nullopt);
  EXPECT_EQ(layers("[3]"), (std::vector<int64_t>{3}));
  EXPECT_EQ(layers("[8-10, 2, 9]"), (std::vector<int64_t>{2, 8, 9, 10}));
  for (const char* bad : {"[]", "8-", "[10-8]", "[-1]", "[1-]", "[1.5]", "[a-b]", "[0-70000]"})
    EXPECT_THAT(error_of(with_required(std::string("lora: {layers_to_transform: ") + bad + "}")),
                HasSubstr("lora.layers_to_transform"))
        << bad;
  Recipe recipe = parse_recipe(with_required(""), "r", {"lora.layers_to_transform=[4-6]"});
  EXPECT_EQ(recipe.lora.layers_to_transform, (std::vector<int64_t>{4, 5, 6}));
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
}

TEST(Recipe, AnyFormatCanHaveWeights) {
  Recipe recipe = parse_recipe("", "r.yaml", {"model.path=m", "data.train=t", "output=o", "data.columns.weight=w"});
  EXPECT_EQ(recipe.data.columns.weight, "w");
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
  recipe = parse_recipe("", "r.yaml",
                        {"model.path=m", "data.train=t", "output=o", "task=reward", "data.format=helpsteer3",
                         "data.columns.margin=m", "reward.loss=pairs"});
  EXPECT_EQ(recipe.data.columns.margin, "m");
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
  recipe = parse_recipe("", "r.yaml",
                        {"model.path=m", "data.train=t", "output=o", "task=reward", "data.format=scored",
                         "reward.loss=regression", "data.columns.score=s"});
  EXPECT_EQ(recipe.data.columns.score, "s");
  EXPECT_EQ(recipe.reward.loss, Recipe::RewardLoss::kRegression);
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
}

TEST(Recipe, AHeadHasTheLabelsThatATaskKnows) {
  auto parse = [](const std::string& labels) {
    return parse_recipe("", "r.yaml", {"model.path=m", "data.train=t", "output=o", "model.num_labels=" + labels});
  };
  EXPECT_EQ(parse("2").model.num_labels, 2);
  EXPECT_EQ(parse("3").model.num_labels, 3);
  for (const char* labels : {"1", "4"}) {
    try {
      parse(labels);
      ADD_FAILURE() << labels;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("model.num_labels: expected an integer from 2 to 3"));
    }
  }
}

/** Settings that contradict each other, as one line of the command line each. */
TEST(Recipe, WhereAHeadCanNotStartIsSaid) {
  auto error = [](std::vector<std::string> settings) {
    settings.insert(settings.begin(), {"model.path=m", "data.train=t", "output=o"});
    try {
      parse_recipe("", "r", settings);
    } catch (const Error& found) {
      return std::string(found.what());
    }
    return std::string("no error");
  };
  const std::string labels = "model.head=labels", shares = "model.head=shares", asks = "data.question=default",
                    left = "data.truncation=left",
                    plus = R"(data.template="{prompt} {response_a} {response_b} Which?")";
  EXPECT_EQ(error({labels, asks, left}), "no error");
  EXPECT_EQ(error({labels, plus}), "no error");
  EXPECT_EQ(error({shares}), "no error");
  EXPECT_EQ(error({shares, "task=reward"}), "no error");
  EXPECT_THAT(error({labels}), HasSubstr("model.head: labels needs a text that ends with a question"));
  EXPECT_THAT(error({labels, asks}), HasSubstr("data.truncation: right cuts off"));
  EXPECT_THAT(error({labels, "task=reward"}), HasSubstr("model.head: labels are the answers A, B and tie"));
  EXPECT_THAT(error({asks, left, "task=reward"}), HasSubstr("data.question: is asked of task: judge"));
  EXPECT_THAT(error({shares, "lora.freeze_head=true"}), HasSubstr("lora.freeze_head: a head of zeros"));
  EXPECT_THAT(error({shares, "lora.init_adapter=a"}), HasSubstr("expected auto with lora.init_adapter"));
  EXPECT_THAT(error({"train.head_learning_rate=1", "lora.freeze_head=true"}),
              HasSubstr("train.head_learning_rate: is"));
  EXPECT_THAT(error({"train.head_only_steps=1", "lora.freeze_head=true"}), HasSubstr("train.head_only_steps: is"));
  EXPECT_THAT(error({"train.head_learning_rate=1", "train.learning_rate=0"}), HasSubstr("train.learning_rate above 0"));
  EXPECT_THAT(error({"lora.layers_to_transform=[1]", "lora.use_dora=true"}), HasSubstr("is not for lora.use_dora"));
  EXPECT_THAT(error({"lora.lora_plus_ratio=0"}), HasSubstr("expected a number above 0"));
  EXPECT_THAT(error({"lora.layer_decay=1.1"}), HasSubstr("from 0 to 1"));
}

TEST(Recipe, SectionsWithoutKeysAreEmpty) {
  EXPECT_EQ(parse_recipe(with_required("lora:\n#  r: 4\n"), "r"), parse_recipe(with_required(""), "r"));
}

TEST(Overrides, ReplaceWhatTheFileSays) {
  Recipe recipe =
      parse_recipe(with_required("train: {seed: 1, max_grad_norm: 2}"), "r.yaml",
                   {"train.seed=2", "train.seed=3", "train.max_grad_norm=null", "data.train=a=b: #1.csv", "output=2024",
                    "data.valid=0", "lora.use_rslora=true", "lora.target_modules=[q_proj, v_proj]",
                    "model.tokenizer=\"t\\ttab\"", "train.schedule=constant", "train.learning_rate=+1e-3"});
  EXPECT_EQ(recipe.train.seed, 3);
  EXPECT_FALSE(recipe.train.max_grad_norm);
  EXPECT_EQ(recipe.data.train, "a=b: #1.csv");
  EXPECT_EQ(recipe.output, "2024");
  EXPECT_EQ(std::get<double>(recipe.data.valid), 0);
  EXPECT_TRUE(recipe.lora.use_rslora);
  EXPECT_THAT(recipe.lora.target_modules, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(recipe.model.tokenizer, "t\ttab");
  EXPECT_EQ(recipe.train.schedule, Recipe::Schedule::kConstant);
  EXPECT_EQ(recipe.train.learning_rate, 1e-3);
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
}

TEST(Overrides, FillInRequiredKeys) {
  Recipe recipe = parse_recipe("", "r.yaml", {"model.path=m", "data.train=t"});
  EXPECT_EQ(recipe.model.path, "m");
}

TEST(Recipe, LoadNamesTheFile) {
  auto path = std::filesystem::path(testing::TempDir()) / "gavel_recipe_test.yaml";
  write_file(path, "model: {path: m}\ndata: {train: t}\nlora: {rank: 8}\n");
  try {
    load_recipe(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), path.string() + ":3: lora.rank: unknown key (did you mean 'lora.r'?)");
  }
  std::filesystem::remove(path);
  EXPECT_THROW(load_recipe(path), Error);
}

TEST(ToYaml, AwkwardTextsComeBackTheSame) {
  for (std::string text : {"plain/path.csv",
                           "a b",
                           "5",
                           "5e-5",
                           "0x1f",
                           "1_000",
                           "true",
                           "No",
                           "null",
                           "~",
                           "-",
                           "- a",
                           "a: b",
                           "a #b",
                           "#b",
                           "'",
                           "\"",
                           "\\",
                           "\\n",
                           "line\nline\n",
                           "\ttab ",
                           " lead",
                           "end ",
                           "ä€😀",
                           "&a",
                           "*a",
                           "!t",
                           "{a}",
                           "[a]",
                           "%x",
                           "@",
                           "`",
                           "|",
                           ">",
                           "?",
                           ":",
                           ",",
                           "\x01\x7f",
                           "\r\n",
                           "\u0085",
                           "\u2028",
                           "\ufeff",
                           ".inf",
                           "=",
                           "<<"}) {
    Recipe recipe = parse_recipe(with_required(""), "r");
    recipe.output = text;
    recipe.data.valid = text;
    recipe.model.tokenizer = text;
    EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe) << text << "\n" << to_yaml(recipe);
  }
}

TEST(ToYaml, KeepsEveryDigit) {
  Recipe recipe = parse_recipe(with_required(""), "r");
  recipe.train.learning_rate = 0.1 + 0.2;
  recipe.train.adam_epsilon = 5e-324;
  recipe.data.valid = 1.0 / 3;
  recipe.train.seed = (int64_t{1} << 53) - 1;
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
}

TEST(ToYaml, HasEveryKeyOnce) {
  Recipe recipe = parse_recipe(with_required(""), "r");
  recipe.data.format = Format::kGeneric;
  recipe.data.columns = {.prompt = "p", .response_a = "a", .response_b = "b", .winner = "w"};
  std::string text = to_yaml(recipe);
  EXPECT_EQ(parse_recipe(text, "again"), recipe);
  for (const RecipeKey& key : recipe_keys())
    EXPECT_THAT(text, HasSubstr(key.key.substr(key.key.rfind('.') + 1) + ": ")) << key.key;
}

TEST(Recipe, FilesCanBeAListAndComeBack) {
  const Recipe recipe = parse_recipe(
      "model: {path: m}\noutput: o\ndata:\n  train: [a.csv, {path: 'b-*.csv', weight: 0.5, rows: 100, format: wsdm}, "
      "{path: c, cells: text}]\n  exclude: t.csv\n  spellings: {a: [1, first], tie: 0}\n",
      "r.yaml");
  const std::vector<DataFile> expected = {{.path = "a.csv"},
                                          {.path = "b-*.csv", .weight = 0.5, .rows = 100, .format = Format::kWsdm},
                                          {.path = "c", .cells = Cells::kText}};
  EXPECT_EQ(recipe.data.train.files, expected);
  EXPECT_EQ(recipe.data.train.text(), "a.csv and 2 others");
  EXPECT_EQ(recipe.data.exclude, DataFiles("t.csv"));
  EXPECT_THAT(recipe.data.spellings.a, testing::ElementsAre("1", "first"));
  EXPECT_THAT(recipe.data.spellings.tie, testing::ElementsAre("0"));
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
  auto problem = [](const std::string& train) -> std::string {
    try {
      parse_recipe("", "r.yaml", {"model.path=m", "output=o", "data.train=" + train});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(problem("[]"), HasSubstr("data.train: expected a file or a list of files, found an empty list"));
  EXPECT_THAT(problem("[a.csv, {weight: 2}]"), HasSubstr("file 2 of the list: expected a file's path"));
  EXPECT_THAT(problem("[{path: a, wieght: 2}]"),
              HasSubstr("wieght: unknown key; a file has path, weight, rows, format"));
  EXPECT_THAT(problem("[{path: a, weight: 0}]"), HasSubstr("weight: expected a number from 0 to 1000000 (0 excluded)"));
  EXPECT_THAT(problem("[{path: a, rows: 0}]"), HasSubstr("rows: expected an integer"));
  EXPECT_THAT(problem("[{path: a, format: csv}]"), HasSubstr("format: expected"));
  EXPECT_THAT(problem("[[a]]"), HasSubstr("expected a text, found a list"));
  // Aliases that would make a list of megabytes.
  std::string list = "data: {train: [&x " + std::string(2000, 'a');
  for (int i = 0; i < 2000; ++i) list += ", *x";
  try {
    parse_recipe(list + "]}", "r.yaml");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("a list of more than 1048576 bytes"));
  }
}

TEST(WarmUp, IsCutToTheRun) {
  Recipe recipe = parse_recipe(with_required(""), "r", {"train.max_steps=50"});
  EXPECT_EQ(warmup_steps(recipe, 1000), 128);
  EXPECT_EQ(warmup_note(recipe, 128), "");
  for (int64_t steps : {1, 10, 50, 127}) {
    EXPECT_EQ(warmup_steps(recipe, steps), steps);
    const std::string text = warmup_note(recipe, steps);
    EXPECT_THAT(text, HasSubstr(fmt::format("train.warmup_steps: 128 is more than the run's {} steps", steps)));
    Recipe advised = recipe;
    advised.train.warmup_steps = std::stoll(text.substr(text.rfind('=') + 1));
    EXPECT_EQ(warmup_note(advised, steps), "");
  }
}

TEST(Lists, AreReadWithoutBracketsToo) {
  auto read = [](const std::string& setting) { return parse_recipe(with_required(""), "r", {setting}); };
  EXPECT_THAT(read("lora.target_modules=q_proj,v_proj").lora.target_modules, testing::ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(read("lora.target_modules=q_proj, v_proj").lora.target_modules, testing::ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(read("lora.target_modules=o_proj").lora.target_modules, testing::ElementsAre("o_proj"));
  EXPECT_THAT(read("lora.target_modules=all-linear").lora.target_modules, testing::SizeIs(7));
  EXPECT_THAT(*read("lora.layers_to_transform=8,10-12").lora.layers_to_transform, testing::ElementsAre(8, 10, 11, 12));
  EXPECT_THAT(read("data.proportional_shares=0.5,0.25,0.25").data.proportional_shares,
              testing::ElementsAre(0.5, 0.25, 0.25));
  EXPECT_THAT(parse_recipe(with_required("lora:\n  target_modules: q_proj, k_proj"), "r").lora.target_modules,
              testing::ElementsAre("q_proj", "k_proj"));
  EXPECT_THAT(error_of(with_required(""), {"lora.target_modules=q_prj,v_proj"}),
              HasSubstr("found 'q_prj' (did you mean 'q_proj'?)"));
  EXPECT_THAT(error_of(with_required(""), {"lora.target_modules=q_proj,,v_proj"}), HasSubstr("found ''"));
}

TEST(Paths, BeginInTheHomeFolder) {
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') GTEST_SKIP() << "no home folder";
  const Recipe recipe = parse_recipe(
      "model: {path: ~/m, tokenizer: ~/t}\ndata: {train: [~/a.csv, {path: ~/b.csv}], valid: ~/v.csv, "
      "exclude: ~/e.csv}\nmesh: {rules: ~/r}\nlora: {init_adapter: ~/i}\noutput: ~/o",
      "r", {"device=~/plugin.so"});
  const std::string at = std::string(home) + "/";
  EXPECT_EQ(recipe.model.path, at + "m");
  EXPECT_EQ(recipe.model.tokenizer, at + "t");
  EXPECT_EQ(recipe.data.train.files[0].path, at + "a.csv");
  EXPECT_EQ(recipe.data.train.files[1].path, at + "b.csv");
  EXPECT_EQ(std::get<std::string>(recipe.data.valid), at + "v.csv");
  EXPECT_EQ(recipe.data.exclude->files[0].path, at + "e.csv");
  EXPECT_EQ(recipe.mesh.rules, at + "r");
  EXPECT_EQ(recipe.lora.init_adapter, at + "i");
  EXPECT_EQ(recipe.output, at + "o");
  EXPECT_EQ(recipe.device, at + "plugin.so");
  // Nothing else begins with it.
  EXPECT_EQ(
      parse_recipe(with_required(""), "r", {"data.template=~/{prompt}{response_a}{response_b}"}).data.text_template,
      "~/{prompt}{response_a}{response_b}");
}

TEST(Keys, TableHelpAndDocumentationNameEachKey) {
  std::vector<RecipeKey> keys = recipe_keys();
  std::set<std::string> names;
  std::string help = recipe_help(), table = recipe_markdown();
  for (const RecipeKey& key : keys) {
    EXPECT_TRUE(names.insert(key.key).second) << key.key;
    EXPECT_FALSE(key.help.empty()) << key.key;
    EXPECT_FALSE(key.type.empty()) << key.key;
    EXPECT_EQ(key.required, key.default_value.empty()) << key.key;
    EXPECT_THAT(help, HasSubstr("  " + key.key + " = "));
    EXPECT_THAT(table, HasSubstr("| `" + key.key + "` |"));
  }
  EXPECT_THAT(table, HasSubstr("| `train.schedule` | `cosine` | cosine \\| linear \\| constant |"));
  EXPECT_THAT(help, HasSubstr("learning_rate = 5e-05"));
}

/** Each default, given as an override, changes nothing: defaults are valid values of their keys. */
TEST(Keys, DefaultsAreValid) {
  Recipe plain = parse_recipe(with_required(""), "r");
  for (const RecipeKey& key : recipe_keys()) {
    if (key.required) continue;
    EXPECT_EQ(parse_recipe(with_required(""), "r", {key.key + "=" + key.default_value}), plain) << key.key;
  }
}

/** Each choice is accepted and named back. */
TEST(Keys, ChoicesAreValid) {
  for (const RecipeKey& key : recipe_keys()) {
    if (key.type != "choice" || key.key == "data.format") continue;
    for (const std::string& choice : key.choices) {
      std::vector<std::string> settings = {key.key + "=" + choice};
      if (choice == "labels") settings.insert(settings.end(), {"data.question=default", "data.truncation=left"});
      // How a reward is learnt is refused of a judge.
      if (key.key.starts_with("reward.")) settings.emplace_back("task=reward");
      Recipe recipe = parse_recipe(with_required(""), "r", settings);
      std::string leaf = key.key.substr(key.key.rfind('.') + 1);
      const std::string indent = leaf == key.key ? "\n" : "  ";
      EXPECT_THAT(to_yaml(recipe), HasSubstr(indent + leaf + ": " + choice + "\n"));
    }
  }
  EXPECT_EQ(choice_name(Truncation::kProportional), "proportional");
}

TEST(Recipes, AllOfTheRepositoryParse) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GAVEL_SOURCE_DIR "/recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    ++count;
    Recipe recipe = load_recipe(entry.path());
    EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe) << entry.path();
  }
  EXPECT_GE(count, 4);
}

TEST(Recipes, FaithfulIsTheOrigin) {
  Recipe recipe = load_recipe(GAVEL_SOURCE_DIR "/recipes/faithful-llama3-8b.yaml");
  EXPECT_EQ(recipe.lora, Recipe::Lora{});
  EXPECT_EQ(recipe.data.cells, Cells::kSplit);
  EXPECT_EQ(recipe.data.fraction, 0.5);
  EXPECT_EQ(std::get<double>(recipe.data.valid), 0);
  EXPECT_TRUE(recipe.data.drop_before_shuffle);
  EXPECT_EQ(recipe.data.batching, Batching::kPadded);
  Recipe::Train expected;
  expected.eval_at_start = false;
  EXPECT_EQ(recipe.train, expected);
}

}  // namespace
}  // namespace gavel
