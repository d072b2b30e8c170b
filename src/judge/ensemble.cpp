#include "judge/ensemble.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

constexpr const char* kEnsemble = "ensemble.json";

}  // namespace

std::vector<fs::path> ensemble_members(const fs::path& folder) {
  const fs::path path = folder / kEnsemble;
  std::vector<fs::path> members;
  if (!fs::exists(path)) return members;
  const auto json = nlohmann::json::parse(read_json_text(path), nullptr, false);
  if (json.is_object() && json.contains("members") && json["members"].is_array())
    for (const auto& name : json["members"]) {
      if (!name.is_string()) fail("{}: 'members' holds {}, expected names of folders", path.string(), name.type_name());
      const fs::path member = name.get<std::string>();
      if (member.is_absolute() || std::ranges::find(member, "..") != member.end())
        fail("{}: its member {} lies outside its folder; expected names of folders in it", path.string(),
             member.string());
      members.push_back(folder / member);
      if (!fs::is_directory(members.back()))
        fail("{}: its member {} is not there; put the folder back, or judge with one of the others alone",
             path.string(), members.back().string());
    }
  if (members.empty())
    fail("{}: expected a JSON object with the list 'members' of folders, each of a trained judge", path.string());
  return members;
}

void write_ensemble(const fs::path& folder, const std::vector<std::string>& members) {
  const nlohmann::ordered_json json = {{"format", 1}, {"members", members}};
  write_file(folder / kEnsemble, json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace gavel
