#pragma once
#include <filesystem>
#include <string>

#include "pjrt/plugin.h"

namespace gavel {

/** Whether the plugin was fetched, whose compiler needs no hardware. */
inline bool has_compiler(const std::string& plugin) {
  for (const auto& path : pjrt::plugin_candidates(plugin))
    if (std::filesystem::exists(path)) return true;
  return false;
}

}  // namespace gavel
