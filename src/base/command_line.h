#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** The arguments that the process was started with, the program's name first. */
std::vector<std::string> own_arguments();

/** The program as it was called, as a word of a shell: what a command that people are to paste begins with. */
std::string called_as();

/** The text as one word of a shell. */
std::string shell_word(std::string_view text);

/** A path whose beginning `~/` stands for the home folder, as a shell would have it had it seen one there. */
std::string expand_home(std::string_view path);

}  // namespace gavel
