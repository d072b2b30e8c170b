#include <string_view>

#include "base/error.h"
#include "usage/complete.h"

namespace gavel {

namespace {

constexpr std::string_view kBash = R"--(# Completion of gavel in bash. In ~/.bashrc: eval "$(gavel completion bash)"
_gavel() {
  local line=${COMP_LINE:0:COMP_POINT} words=() new=1 i word
  # bash cuts words at "=" and ":" too; what stands together is put together again.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    [[ $line == [[:space:]]* ]] && new=1
    line=${line#"${line%%[![:space:]]*}"}
    word=${COMP_WORDS[i]}
    ((i == COMP_CWORD)) && word=$line
    line=${line#"$word"}
    if ((new)); then words+=("$word"); else words[${#words[@]} - 1]+=$word; fi
    new=0
  done
  local current=${words[${#words[@]} - 1]} files=0 strip=""
  [[ $COMP_WORDBREAKS == *=* && $current == *=* ]] && strip=${current%"${current##*=}"}
  COMPREPLY=()
  while IFS= read -r line; do
    word=${line%%$'\t'*}
    if [[ $word == :files ]]; then
      files=1
    else
      [[ $word == *= ]] && compopt -o nospace
      COMPREPLY+=("${word#"$strip"}")
    fi
  done < <("${1/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
  if ((files)); then
    compopt -o filenames
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "${current#"$strip"}")
  fi
}
complete -F _gavel gavel
)--";

constexpr std::string_view kZsh = R"--(#compdef gavel
# Completion of gavel in zsh. In ~/.zshrc, behind compinit: eval "$(gavel completion zsh)"
_gavel() {
  local line word files=0
  local -a plain plain_shown keys keys_shown before
  ((CURRENT > 2)) && before=("${(@)words[2,CURRENT-1]}")
  for line in "${(@f)$("${words[1]/#\~/$HOME}" __complete "${before[@]}" "$PREFIX" 2>/dev/null)}"; do
    word=${line%%$'\t'*}
    [[ $line == *$'\t'* ]] && line="${word}  -- ${line#*$'\t'}"
    if [[ $word == :files ]]; then
      files=1
    elif [[ $word == *= ]]; then
      keys+=("$word") keys_shown+=("$line")
    elif [[ -n $word ]]; then
      plain+=("$word") plain_shown+=("$line")
    fi
  done
  ((${#plain})) && compadd -l -d plain_shown -a plain
  ((${#keys})) && compadd -S '' -l -d keys_shown -a keys
  if ((files)); then
    compset -P '*='
    _files
  fi
}
if [[ ${funcstack[1]} == _gavel ]]; then _gavel "$@"; else compdef _gavel gavel; fi
)--";

constexpr std::string_view kFish =
    R"--(# Completion of gavel in fish: gavel completion fish > ~/.config/fish/completions/gavel.fish
function __gavel_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' "$HOME" -- $words[1])
    set -e words[1]
    for line in ($program __complete $words "$current" 2>/dev/null)
        if test "$line" = ":files"
            set -l before (string match -r '^.*=' -- $current)
            for path in (__fish_complete_path (string replace -r '^.*=' '' -- $current))
                echo "$before$path"
            end
        else
            echo $line
        end
    end
end
complete -c gavel -f -a '(__gavel_complete)'
)--";

}  // namespace

std::string completion_script(const std::string& shell) {
  if (shell == "bash") return std::string(kBash);
  if (shell == "zsh") return std::string(kZsh);
  if (shell == "fish") return std::string(kFish);
  fail("gavel completion: expected bash, zsh or fish, found '{}'", shell);
}

}  // namespace gavel
