#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace gavel {

/** The folders of the judges that a folder with ensemble.json predicts with, all together; empty when it has no such file.
 * Throws Error naming the file when it is not what write_ensemble() writes or one of the folders is missing. */
std::vector<std::filesystem::path> ensemble_members(const std::filesystem::path& folder);

/** Makes an ensemble of the judges in these folders, named relative to `folder`. */
void write_ensemble(const std::filesystem::path& folder, const std::vector<std::string>& members);

}  // namespace gavel
