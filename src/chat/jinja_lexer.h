#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gavel::jinja {

struct Token {
  enum class Kind : uint8_t {
    kData,           // text outside of tags
    kStatement,      // {%
    kStatementEnd,   // %}
    kExpression,     // {{
    kExpressionEnd,  // }}
    kName,
    kText,
    kInt,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;  // of kText: what it stands for
  int line = 1;

  /** For messages. */
  std::string described() const;
  bool is(Kind wanted, std::string_view spelling) const { return kind == wanted && text == spelling; }
};

/** The tokens of a template, as Jinja cuts it with trim_blocks and lstrip_blocks, the last of them kEnd. `source` must be
 * UTF-8. Throws Problem; `line` then is where. */
std::vector<Token> tokenize(std::string_view source, int& line);

}  // namespace gavel::jinja
