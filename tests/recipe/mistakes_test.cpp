// What is said of recipes that are wrong.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "recipe/test_support.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

struct BadCase {
  std::string name, rest;
  std::vector<std::string> parts;
};
void PrintTo(const BadCase& bad, std::ostream* out) {
  *out << bad.name;
}

class BadRecipe : public testing::TestWithParam<BadCase> {};

TEST_P(BadRecipe, NamesPlaceKeyAndWhatIsWrong) {
  std::string error = error_of(with_required(GetParam().rest));
  for (const std::string& part : GetParam().parts) EXPECT_THAT(error, HasSubstr(part));
  EXPECT_THAT(error, StartsWith("r.yaml"));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadRecipe,
    testing::Values(
        BadCase{"typo", "train:\n  batch_sise: 4", {"r.yaml:4: train.batch_sise: unknown key", "'train.batch_size'"}},
        BadCase{"other_tools_name", "train:\n  lr: 1", {"r.yaml:4: train.lr", "did you mean 'train.learning_rate'"}},
        BadCase{"other_section", "lora:\n  max_length: 9", {"r.yaml:4: lora.max_length", "'data.max_length'"}},
        BadCase{"top_level", "seed: 3", {"r.yaml:3: seed: unknown key", "'train.seed'"}},
        BadCase{"section_typo", "trian: {seed: 3}", {"r.yaml:3: trian: unknown key", "'train'"}},
        BadCase{"nothing_near", "zzzzzzzzzzzz: 3", {"r.yaml:3", "there are: model, lora, data"}},
        BadCase{"nothing_near_in_section", "mesh: {zzzzzzzzzzzzzzz: 3}", {"there are: dp, fsdp, mp, rules"}},
        BadCase{"dotted", "train.seed: 3", {"r.yaml:3: train.seed: write it as 'seed:' below 'train:'"}},
        BadCase{"twice", "train:\n  seed: 1\n  seed: 2", {"r.yaml:5: train.seed: is set twice; first at r.yaml:4"}},
        BadCase{"section_twice", "data: {valid: 0}", {"r.yaml:3: data: is set twice; first at r.yaml:2"}},
        BadCase{"section_is_value", "train: 5", {"r.yaml:3: train: expected keys with values, found 5"}},
        BadCase{"list_as_key", "? [a, b]\n: 5", {"expected a key, found a list"}},
        BadCase{"integer_is_text", "lora: {r: four}", {"r.yaml:3: lora.r: expected an integer", "found 'four'"}},
        BadCase{"integer_is_real", "lora: {r: 4.5}", {"lora.r: expected an integer", "found 4.5"}},
        BadCase{"integer_quoted", "lora: {r: '4'}", {"expected an integer", "found the text '4'"}},
        BadCase{"integer_null", "lora: {r: }", {"lora.r: expected an integer", "found nothing"}},
        BadCase{"integer_too_long", "train: {seed: 99999999999999999999}", {"train.seed: expected an integer"}},
        BadCase{"integer_list", "lora: {r: [4]}", {"found a list"}},
        BadCase{"integer_map", "lora: {r: {a: 4}}", {"found a mapping"}},
        BadCase{"rank_negative", "lora: {r: -4}", {"lora.r: expected an integer from 1", "found -4"}},
        BadCase{"rank_zero", "lora: {r: 0}", {"lora.r: expected"}},
        BadCase{
            "dropout_one", "lora: {lora_dropout: 1.0}", {"lora.lora_dropout: expected a number from 0 to 1 (1 excl"}},
        BadCase{"dropout_nan", "lora: {lora_dropout: .nan}", {"lora.lora_dropout: expected a number"}},
        BadCase{"dropout_nan_word", "lora: {lora_dropout: nan}", {"lora.lora_dropout: expected a number"}},
        BadCase{"alpha_zero", "lora: {lora_alpha: 0}", {"lora.lora_alpha: expected a number above 0, found 0"}},
        BadCase{"rate_infinite", "train: {learning_rate: inf}", {"train.learning_rate: expected a number"}},
        BadCase{"rate_negative", "train: {learning_rate: -1}", {"train.learning_rate: expected a number of 0 or more"}},
        BadCase{"beta_one", "train: {adam_beta2: 1}", {"train.adam_beta2: expected"}},
        BadCase{"module_unknown", "lora: {target_modules: [o_prj]}", {"found 'o_prj' (did you mean 'o_proj'?)"}},
        BadCase{"module_twice", "lora: {target_modules: [o_proj, o_proj]}", {"'o_proj' is there twice"}},
        BadCase{"modules_empty", "lora: {target_modules: []}", {"lora.target_modules", "found an empty list"}},
        BadCase{"modules_text", "lora: {target_modules: o_prj}", {"found 'o_prj'", "'o_proj'?"}},
        BadCase{"modules_nested", "lora: {target_modules: [[o_proj]]}", {"in the list: expected a text, found a list"}},
        BadCase{"bool_yes", "lora: {use_rslora: yes}", {"expected true or false, found yes"}},
        BadCase{"bool_number", "lora: {use_rslora: 1}", {"expected true or false, found 1"}},
        BadCase{"text_number", "output: 5", {"r.yaml:3: output: expected a text, found 5", "\"5\""}},
        BadCase{"text_true", "output: true", {"output: expected a text, found true"}},
        BadCase{"text_empty", "output: ''", {"output: expected a text, found an empty text"}},
        BadCase{"text_null", "output: null", {"output: expected a text, found nothing"}},
        BadCase{"text_zero_byte", "output: \"a\\0b\"", {"zero byte"}},
        BadCase{"choice", "train: {schedule: cosin}", {"expected cosine, linear or constant", "'cosine'?"}},
        BadCase{"choice_list", "train: {schedule: [cosine]}", {"found a list"}},
        BadCase{"dtype", "model2: {}\ntrain: {layers: scn}", {"r.yaml:3: model2", "r.yaml:4: train.layers", "'scan'?"}},
        BadCase{"device", "device: cudda", {"r.yaml:3: device: expected cpu, cuda, tpu", "'cuda'?"}},
        BadCase{"device_gpu", "device: gpu", {"did you mean 'cuda'?"}},
        BadCase{"mesh_zero", "mesh: {dp: 0}", {"r.yaml:3: mesh.dp: expected the number of devices, or -1; found 0"}},
        BadCase{"mesh_two_rests", "mesh: {dp: -1}", {"r.yaml:3: mesh: only one axis can be -1", "`mesh: auto`"}},
        BadCase{"mesh_auto_and_mp", "mesh: {dp: -1, fsdp: -1, mp: -1}", {"r.yaml:3: mesh: only one axis can be -1"}},
        BadCase{"mesh_word", "mesh: dp", {"r.yaml:3: mesh: expected keys with values, found 'dp'"}},
        BadCase{"mesh_negative", "mesh: {dp: -2}", {"mesh.dp: expected an integer from -1"}},
        BadCase{"warmup_negative", "train: {warmup_steps: -1}", {"train.warmup_steps: expected an integer from 0"}},
        BadCase{"not_yaml", "train: [1, 2", {"r.yaml:", "not valid YAML"}},
        BadCase{"not_yaml_line", "lora:\n  r: 4\n bad", {"r.yaml:5: not valid YAML"}},
        BadCase{"unknown_alias", "lora: *x", {"r.yaml:3: not valid YAML"}},
        BadCase{"two_documents", "---\nlora: {r: 4}", {"expected one YAML document, found several"}},
        BadCase{"merge_key", "lora: {<<: {r: 4}}", {"lora.<<: unknown key"}},
        BadCase{"not_utf8", "output: \xff", {"r.yaml: expected UTF-8"}},
        BadCase{
            "tab", "train:\n\tseed: 1", {"not valid YAML: line 4 begins with a tab", "put two spaces in its place"}},
        BadCase{"tab_below", "train:\n  epochs: 2\n\tseed: 1", {"r.yaml:5: not valid YAML: line 5 begins with a tab"}},
        BadCase{"tab_behind_spaces", "train:\n  epochs: 2\n  \tseed: 1", {"line 5 begins with a tab"}},
        BadCase{"indented_more",
                "train:\n  seed: 1\n   epochs: 2",
                {"line 5 is indented by 3 spaces, and the line above it is indented by 2 spaces"}},
        BadCase{"indented_less",
                "train:\n  seed: 1\n epochs: 2",
                {"line 5 is indented by 1 space, and the line above it is indented by 2 spaces"}},
        BadCase{
            "section_indented", "lora: {r: 4}\n train: {seed: 1}", {"line 4 is indented by 1 space", "not indented"}},
        BadCase{
            "no_space_first", "train:\n  seed:1\n  epochs: 2", {"line 4: put a space behind the colon of 'seed:1'"}},
        BadCase{"no_space_alone", "train:\n  seed:1", {"a space is missing behind the colon of 'seed:1'"}},
        BadCase{"no_space_last", "train:\n  epochs: 2\n  seed:1", {"seed:1: unknown key", "'train.seed'?"}},
        BadCase{"no_colon", "train\n  seed: 1", {"line 3: put a colon behind 'train'"}},
        BadCase{"value_with_colon",
                "data:\n  template: Prompt: {prompt}",
                {"line 4: put the value in quotes: \"Prompt: {prompt}\""}},
        BadCase{"value_in_braces", "data:\n  template: {prompt} x", {"put the value in quotes: \"{prompt} x\""}},
        BadCase{"value_with_sign", "output: @x", {"put the value in quotes: \"@x\""}},
        BadCase{"bracket", "lora: {target_modules: [q_proj, v_proj}", {"is not closed by the right one"}}),
    [](const auto& info) { return info.param.name; });

class BadData : public testing::TestWithParam<BadCase> {};

TEST_P(BadData, NamesLineAndKey) {
  std::string error = error_of("model: {path: m}\ndata:\n  train: t.csv\n  " + GetParam().rest);
  for (const std::string& part : GetParam().parts) EXPECT_THAT(error, HasSubstr(part));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadData,
    testing::Values(
        BadCase{"valid_one",
                "valid: 1",
                {"r.yaml:4: data.valid: expected a share from 0 to 1 (1 excluded), or a file; found 1"}},
        BadCase{"valid_negative", "valid: -0.1", {"r.yaml:4: data.valid"}},
        BadCase{"valid_null", "valid: null", {"found nothing"}}, BadCase{"valid_bool", "valid: false", {"found false"}},
        BadCase{"fraction_zero", "fraction: 0", {"data.fraction: expected a number from 0 to 1 (0 excluded), found 0"}},
        BadCase{"fraction_more", "fraction: 1.01", {"data.fraction"}},
        BadCase{"length_short", "max_length: 7", {"data.max_length: expected an integer from 8", "found 7"}},
        BadCase{"shares_sum",
                "proportional_shares: [0.2, 0.2, 0.2]",
                {"data.proportional_shares: expected shares that sum to 1"}},
        BadCase{"shares_count", "proportional_shares: [0.5, 0.5]", {"expected a list of 3 numbers, found 2"}},
        BadCase{"shares_text", "proportional_shares: [a, b, c]", {"in the list: expected a number", "'a'"}},
        BadCase{"shares_zero", "proportional_shares: [0, 0.5, 0.5]", {"in the list"}},
        BadCase{"columns_without_generic", "columns: {prompt: q}", {"data.columns: is for data.format: generic only"}},
        BadCase{"generic_without_columns",
                "format: generic",
                {"r.yaml:4: data.columns", "prompt, response_a and response_b"}},
        BadCase{"generic_both_labels",
                "format: generic\n  columns: {prompt: a, response_a: b, response_b: c, winner: d, label_a: e}",
                {"either the column winner, or"}},
        BadCase{"column_typo",
                "format: generic\n  columns: {promt: a}",
                {"r.yaml:5: data.columns.promt", "'data.columns.prompt'"}},
        BadCase{"template_name", "template: orign", {"r.yaml:4: data.template", "'origin'?"}},
        BadCase{"template_lacks", "template: '{prompt} {response_a}'", {"no {response_b}"}}),
    [](const auto& info) { return info.param.name; });

TEST(Recipe, MissingRequiredKeysAreNamed) {
  EXPECT_THAT(error_of(""),
              AllOf(HasSubstr("r.yaml: model.path: is missing"), HasSubstr("r.yaml: data.train: is missing")));
  EXPECT_THAT(error_of("# only a comment\n"), HasSubstr("model.path: is missing"));
  EXPECT_THAT(error_of("model.path"), HasSubstr("expected keys with values"));
}

TEST(Recipe, BrokenYamlIsTheOnlyProblemReported) {
  std::string error = error_of("lora: [", {"lora.r=1"});
  EXPECT_THAT(error, StartsWith("r.yaml:1: not valid YAML"));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 0) << error;
}

TEST(Recipe, AllProblemsComeTogether) {
  std::string error = error_of("model: {pth: m}\ndata: {train: t, max_length: 3}\nlora: {r: x}\n", {"train.lr=1"});
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 4) << error;
  for (const char* part : {"r.yaml:1: model.pth", "r.yaml:2: data.max_length", "r.yaml:3: lora.r",
                           "command line: train.lr: unknown key", "model.path: is missing"})
    EXPECT_THAT(error, HasSubstr(part));
}

TEST(Overrides, MistakesNameTheCommandLine) {
  std::string text = with_required("");
  EXPECT_THAT(error_of(text, {"train.lr=1"}),
              AllOf(StartsWith("command line: train.lr: unknown key"), HasSubstr("'train.learning_rate'")));
  EXPECT_THAT(error_of(text, {"seed=1"}), HasSubstr("did you mean 'train.seed'"));
  EXPECT_THAT(error_of(text, {"train.seed"}), HasSubstr("expected section.key=value, found 'train.seed'"));
  EXPECT_THAT(error_of(text, {"=1"}), HasSubstr("expected section.key=value"));
  EXPECT_THAT(error_of(text, {"train={seed: 1}"}), HasSubstr("train: is a section"));
  EXPECT_THAT(error_of(text, {"lora.target_modules=[q_proj"}), HasSubstr("is not a valid YAML value"));
  EXPECT_THAT(error_of(text, {"lora.r=-1"}), HasSubstr("command line: lora.r: expected an integer from 1"));
  EXPECT_THAT(error_of(text, {"output="}), HasSubstr("output: expected a text, found nothing"));
  EXPECT_THAT(error_of(text, {"output=\xc3"}), HasSubstr("expected UTF-8"));
}

TEST(Recipe, HostileFilesAreErrorsAtOnce) {
  EXPECT_THAT(error_of(std::string(2 << 20, '#')), HasSubstr("expected a recipe of at most"));
  EXPECT_THAT(error_of(std::string(50000, '[')), HasSubstr("r.yaml"));
  EXPECT_THAT(error_of(std::string(50000, '{')), HasSubstr("r.yaml"));
  EXPECT_THAT(error_of(with_required(std::string(1000, 'k') + ": 1")), AllOf(HasSubstr("unknown key"), HasSubstr("…")));
  // On this one YAML::LoadAll never returns.
  EXPECT_THAT(error_of("- a\n, b\n? c\n: d\n--- |\n x\n...\n"), StartsWith("r.yaml"));
  // Each level holds ten times the one before.
  std::string bomb = "a0: &a0 [x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += fmt::format("a{}: &a{} [", i, i);
    for (int k = 0; k < 10; ++k) bomb += fmt::format("*a{}{}", i - 1, k < 9 ? ", " : "]\n");
  }
  EXPECT_THAT(error_of(with_required(bomb + "lora: {target_modules: *a11}")),
              AllOf(HasSubstr("a3: unknown key"), HasSubstr("lora.target_modules")));
}

}  // namespace
}  // namespace gavel
