#pragma once
#include <string>

namespace gavel {

/** Of which commit the program was built. */
struct BuildInfo {
  std::string commit = "unknown";
  std::string date;  // of the commit, "2026-11-29"; "" = unknown
};

/** What --version prints: version and commit, the CPU plugin that would be loaded, and what matters here of the
 * processor. Nothing is loaded. No line break at the end. */
std::string version_text(const BuildInfo& build);

}  // namespace gavel
