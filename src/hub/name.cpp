#include "hub/name.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace gavel {

namespace {

constexpr std::string_view kScheme = "hf://";
constexpr size_t kLongestPart = 96;   // of a repository's name, at the hub too
constexpr size_t kLongestFile = 400;  // below what file systems take

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/** The hub's own rule; "--" is what parts of names are joined by in the cache. */
bool is_repository_part(std::string_view part) {
  return !part.empty() && part.size() <= kLongestPart && is_letter(part.front()) && part.back() != '.' &&
         std::ranges::all_of(part, [](char c) { return is_letter(c) || c == '-' || c == '.'; }) &&
         part.find("--") == part.npos && part.find("..") == part.npos;
}

/** Parts between slashes, of which none leaves the folder. */
bool is_inner_path(std::string_view text, std::string_view more_letters) {
  if (text.empty() || text.size() > kLongestFile) return false;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('/', at), text.size());
    const std::string_view part = text.substr(at, end - at);
    if (part.empty() || part == "." || part == ".." || part.size() > 200) return false;
    for (char c : part)
      if (!is_letter(c) && c != '-' && c != '.' && more_letters.find(c) == more_letters.npos) return false;
    at = end + 1;
  }
  return true;
}

bool is_file_of_a_model(std::string_view text) {
  return std::ranges::any_of(std::initializer_list<std::string_view>{".gguf", ".safetensors", ".json", ".yaml", ".bin"},
                             [&](std::string_view end) { return text.ends_with(end); });
}

std::string_view take_part(std::string_view& rest) {
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view part = rest.substr(0, slash);
  rest.remove_prefix(std::min(slash + 1, rest.size()));
  return part;
}

/** "@refs/pr/1" has three parts, every other revision one, in which "%2F" stands for a slash. */
std::string take_revision(std::string_view first, std::string_view& rest) {
  std::string revision(first);
  if (first == "refs")
    for (int i = 0; i < 2 && !rest.empty(); ++i) revision += fmt::format("/{}", take_part(rest));
  for (size_t at; (at = revision.find("%2F")) != revision.npos;) revision.replace(at, 3, "/");
  return revision;
}

}  // namespace

std::string HubName::text() const {
  const bool like_a_path = !file.empty() || is_file_of_a_model(name);
  std::string out = (like_a_path ? std::string(kScheme) : "") + repository();
  if (revision != "main") {
    std::string one = revision;
    if (!one.starts_with("refs/") || std::ranges::count(one, '/') != 2)
      for (size_t at; (at = one.find('/')) != one.npos;) one.replace(at, 1, "%2F");
    out += "@" + one;
  }
  return file.empty() ? out : out + "/" + file;
}

std::optional<HubName> parse_hub_name(std::string_view text) {
  const bool said = text.starts_with(kScheme);
  std::string_view rest = said ? text.substr(kScheme.size()) : text;
  HubName name;
  name.owner = take_part(rest);
  const std::string_view second = take_part(rest);
  const size_t at = second.find('@');
  name.name = second.substr(0, at);
  if (at != second.npos) name.revision = take_revision(second.substr(at + 1), rest);
  name.file = rest;
  const bool right = is_repository_part(name.owner) && is_repository_part(name.name) &&
                     is_inner_path(name.revision, "+") && (name.file.empty() || is_plain_file_name(name.file));
  if (said) {
    if (!right || text.ends_with('/') || (!name.file.empty() && !name.file.ends_with(".gguf")))
      fail("{}: expected hf://ORG/NAME, hf://ORG/NAME@REVISION or either with /FILE.gguf behind it", text);
    return name;
  }
  if (!right || text.ends_with('/') || !name.file.empty() || is_file_of_a_model(name.name)) return std::nullopt;
  return name;
}

bool is_plain_file_name(std::string_view name) {
  return is_inner_path(name, "+=@,() ");
}

bool is_commit(std::string_view text) {
  return text.size() == 40 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::vector<std::string> gguf_parts(const std::string& file) {
  constexpr size_t kTail = sizeof("-00001-of-00003.gguf") - 1;
  if (file.size() <= kTail) return {file};
  const std::string stem = file.substr(0, file.size() - kTail), tail = file.substr(file.size() - kTail);
  int part = 0, count = 0;
  const auto number = [](const char* digits, int& value) {
    const auto [end, error] = std::from_chars(digits, digits + 5, value);
    return error == std::errc() && end == digits + 5;
  };
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || !number(tail.data() + 1, part) ||
      !number(tail.data() + 10, count) || part < 1 || part > count)
    return {file};
  std::vector<std::string> names;
  for (int i = 1; i <= count; ++i) names.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", stem, i, count));
  return names;
}

}  // namespace gavel
