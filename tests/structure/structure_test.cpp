// The folders of src/: what each includes, what its CMakeLists.txt links, and what docs/architecture.md says of it must be
// the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace gavel {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

const fs::path kSource = fs::path(GAVEL_SOURCE_DIR) / "src";

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Names matches(const std::string& text, const char* pattern) {
  const std::regex expression(pattern);
  Names found;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) found.insert((*at)[1]);
  return found;
}

bool is_source(const fs::path& path) {
  return path.extension() == ".cpp" || path.extension() == ".h";
}

// Modules that are loaded on demand: no libraries of the program.
const Names kModules = {"parquet", "pmix"};

/** Every folder but those of modules. */
Names folders() {
  Names all;
  for (const auto& entry : fs::directory_iterator(kSource))
    if (entry.is_directory() && !kModules.contains(entry.path().filename())) all.insert(entry.path().filename());
  return all;
}

Names included(const std::string& folder) {
  Names found;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / folder))
    if (is_source(entry.path())) found.merge(matches(text_of(entry.path()), "#include \"([a-z_]+)/"));
  found.erase(folder);
  found.erase("xla");  // headers of a package
  return found;
}

/** The folder's own targets and those it links, of its CMakeLists.txt. */
Names linked(const std::string& folder) {
  std::string text = text_of(kSource / folder / "CMakeLists.txt");
  std::smatch call;
  if (!std::regex_search(text, call, std::regex(R"(gavel_library\(([^)]*)\))"))) return {};
  return matches(call[1], R"(\bgavel_([a-z]+))");
}

/** "links with" of the table. */
std::map<std::string, Names> documented() {
  const std::string text = text_of(fs::path(GAVEL_SOURCE_DIR) / "docs/architecture.md");
  const std::regex row(R"(\| `src/([a-z]+)` \|[^\n]*\| ([a-z, –]*) \|\n)");
  std::map<std::string, Names> table;
  for (std::sregex_iterator at(text.begin(), text.end(), row), end; at != end; ++at)
    table[(*at)[1]] = matches((*at)[2], "([a-z]+)");
  return table;
}

TEST(Structure, FoldersLinkWhatTheyInclude) {
  for (const std::string& folder : folders()) EXPECT_EQ(linked(folder), included(folder)) << "src/" << folder;
}

TEST(Structure, TheTableOfTheDocsIsTrue) {
  const auto table = documented();
  Names described;
  for (const auto& [folder, names] : table) described.insert(folder);
  Names all = folders();
  all.insert(kModules.begin(), kModules.end());
  EXPECT_EQ(described, all);
  for (const std::string& folder : folders())
    if (table.contains(folder)) {
      EXPECT_EQ(table.at(folder), linked(folder)) << "src/" << folder;
    }
}

TEST(Structure, NoFolderIncludesInACircle) {
  std::map<std::string, Names> links;
  for (const std::string& folder : folders()) links[folder] = included(folder);
  while (!links.empty()) {
    auto leaf = std::find_if(links.begin(), links.end(), [&](const auto& entry) {
      return std::none_of(entry.second.begin(), entry.second.end(),
                          [&](const auto& name) { return links.contains(name); });
    });
    ASSERT_NE(leaf, links.end()) << "a circle among " << testing::PrintToString(links);
    links.erase(leaf);
  }
}

// What is mapped elsewhere would end the program by a signal when the file is cut short, without its name (base/memory.h); and
// an ordinary open() of what the user names waits for ever where a pipe stands.
TEST(Structure, FilesAreMappedInOnePlace) {
  for (const auto& entry : fs::recursive_directory_iterator(kSource)) {
    if (!is_source(entry.path()) || entry.path() == kSource / "base/file.cpp") continue;
    const std::string text = text_of(entry.path());
    for (const char* call :
         {"mmap(", "OpenFile(path, /*memory_map=*/true", "MemoryMappedFile::", "padded_string::load", "LoadFile("})
      EXPECT_EQ(text.find(call), std::string::npos) << entry.path() << ": " << call;
  }
}

TEST(Structure, FilesAndFoldersStaySmall) {
  for (const std::string& folder : folders()) {
    int modules = 0;
    for (const auto& entry : fs::recursive_directory_iterator(kSource / folder)) {
      if (!is_source(entry.path())) continue;
      if (entry.path().extension() == ".cpp") ++modules;
      const std::string text = text_of(entry.path());
      EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 620) << entry.path();
    }
    EXPECT_LE(modules, 16) << "src/" << folder;
  }
}

}  // namespace
}  // namespace gavel
