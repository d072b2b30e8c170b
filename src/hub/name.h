#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** What "org/name[@revision]" and "hf://org/name[@revision][/file.gguf]" say. */
struct HubName {
  std::string owner, name;
  /** A branch, a tag, a commit, or "refs/pr/1". */
  std::string revision = "main";
  /** A file of the repository, which ends with .gguf; empty: the repository is a Hugging Face folder. */
  std::string file;

  /** "org/name", as the hub has it. */
  std::string repository() const { return owner + "/" + name; }
  /** The shortest that is read as this. */
  std::string text() const;
};

/** Nothing where the text is a path: more or fewer than two parts without "hf://", or letters that no repository has. Throws Error
 * for what begins with "hf://" and goes on otherwise. */
std::optional<HubName> parse_hub_name(std::string_view text);

/** Whether a stranger's name of a file stays in the folder that it is put into: parts of plain letters, none of them ".." or empty,
 * not absolute, not long. */
bool is_plain_file_name(std::string_view name);

/** 40 small hexadecimal digits. */
bool is_commit(std::string_view text);

/** The files of a GGUF model by the name of one of them: "a-00001-of-00003.gguf" is one of three. */
std::vector<std::string> gguf_parts(const std::string& file);

}  // namespace gavel
