#pragma once
#include <filesystem>
#include <span>
#include <string_view>

namespace gavel {

/** Throws Error when `path`, which the option `option` named, is there and may not be written over, or can't be a file: a
 * folder, a device or a pipe is there, or its own folder is not, or it is one of `sources` (or in one that is a folder), which are
 * still to be read. */
void require_free_file(std::string_view option, const std::filesystem::path& path, bool overwrite,
                       std::span<const std::filesystem::path> sources);

/** Throws Error when a model or an adapter can't be written into `folder`: it holds one that may not be written over, or a
 * run, or is one of `sources`, which are still to be read. */
void require_free_folder(std::string_view option, const std::filesystem::path& folder, bool overwrite,
                         std::span<const std::filesystem::path> sources);

/** Removes the files of a model or an adapter from a folder, so that none of them is taken for a part of the next one. */
void remove_model_files(const std::filesystem::path& folder);

}  // namespace gavel
