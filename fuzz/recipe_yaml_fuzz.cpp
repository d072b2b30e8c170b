// Any bytes as a recipe give a recipe or an Error; a recipe's own text gives the same recipe back.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "recipe/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  // What follows a zero byte is given as an override.
  std::vector<std::string> overrides;
  if (size_t zero = text.find('\0'); zero != std::string::npos) {
    overrides.push_back(text.substr(zero + 1));
    text.resize(zero);
  }
  try {
    gavel::Recipe recipe = gavel::parse_recipe(text, "fuzz.yaml", overrides);
    if (gavel::parse_recipe(gavel::to_yaml(recipe), "again") != recipe) std::abort();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  using std::string_literals::operator""s;
  return {
      "model: {path: m}\ndata: {train: t.csv, valid: 0.1}\n",
      "model:\n  path: \"a\\tb\"\n  dtype: float32\nlora: {r: 8, target_modules: [q_proj, v_proj]}\n"
      "data:\n  train: t\n  format: generic\n  columns: {prompt: p, response_a: a, response_b: b, winner: "
      "w}\n",
      "model: {path: m}\ndata: {train: t}\ntrain: {max_steps: 10, warmup_steps: 2, learning_rate: 1e-3}\n",
      "model: {path: &p m}\ndata: {train: *p, template: \"{prompt}{response_a}{response_b}\"}\nmesh: {dp: 2, "
      "mp: -1}\n",
      "model: {path: m}\ndata: {train: t}\n\0lora.r=4"s,
      "model: {path: m}\ndata: {train: t}\n\0lora.target_modules=[k_proj]"s,
      "- a\n- b\n? c\n: d\n--- |\n x\n...\n",
  };
}
