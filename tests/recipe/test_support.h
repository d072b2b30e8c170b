#pragma once
#include <string>
#include <vector>

#include "base/error.h"
#include "recipe/recipe.h"

namespace gavel {

/** Required keys on lines 1 and 2, so that `rest` starts at line 3. */
inline std::string with_required(const std::string& rest) {
  return "model: {path: m}\ndata: {train: t.csv}\n" + rest;
}

/** What parse_recipe says of a wrong one. */
inline std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_recipe(text, "r.yaml", overrides);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace gavel
