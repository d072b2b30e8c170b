#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace gavel {

/** What may stand in place of a word of the command line. */
struct Completions {
  struct Word {
    std::string text;  // one that ends in "=" goes on with a value
    std::string help;  // one line, or ""
  };
  std::vector<Word> words;
  bool files = false;  // or a path
};

/** For the last of `words`, which are the arguments so far and may end in an empty one: commands, options and their
 * choices as `app` has them, and keys and values of recipes where settings are expected. */
Completions complete(const CLI::App& app, const std::vector<std::string>& words);

/** For the scripts of completion_script: a line TEXT or TEXT<tab>HELP for each word, and ":files" where a path may
 * stand. */
std::string completion_lines(const Completions& completions);

/** The name of the hidden command by which the scripts ask: gavel __complete WORDS… */
inline constexpr const char* kCompleteCommand = "__complete";

/** A script for bash, zsh or fish, which asks the program. Throws Error for another shell. */
std::string completion_script(const std::string& shell);

}  // namespace gavel
