// A chat template, rendered with few and with strange messages: any bytes give a text within the limits, or an Error.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "chat/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The first byte says how the rest is cut: a template, and what a user writes.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.empty() ? 0 : text.size() * static_cast<uint8_t>(text[0] & 3) / 8;
  const std::string_view content = text.substr(0, cut);
  text.remove_prefix(cut);
  try {
    auto chat = gavel::ChatTemplate::parse(text, "fuzz", {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    const std::vector<gavel::ChatMessage> messages = {
        {"system", "Be brief."}, {"user", std::string(content)}, {"assistant", "a \xFF"}, {"user", "q"}};
    for (size_t count : {size_t{0}, size_t{2}, messages.size()}) {
      try {
        const std::string found = chat.render(std::span(messages).first(count), count != 2);
        if (!gavel::is_valid_utf8(found)) std::abort();
        if (found != chat.render(std::span(messages).first(count), count != 2)) std::abort();
      } catch (const gavel::Error&) {
      }
    }
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content | trim }}{% if loop.last %}{{ eos_token }}{% "
      "endif %}"
      "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
      "{%- set ns = namespace(a=1, b=[]) -%}\n  {%- for m in messages[1:] if m.role == 'user' %}{% set ns.a = ns.a + 1 "
      "%}"
      "{% else %}x{%- endfor -%}{{ ns.a ~ ns.b }}",
      "{% macro f(x, y=2) %}{{ x }}{{ y * 2 }}{% endmacro %}{{ f('a') }}{{ f(y=1, x=[1]) }}{% set t %}a{% endset %}{{ "
      "t }}",
      "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') | upper }}",
      "{{ [1, 2.5, -3, none, true, 'a\\n\\u00e9'] | tojson(indent=2) }}{{ {'a': (1,)} }}{# c #}",
      "{{ 'a b'.split(' ', 1)[::-1] }}{{ 'abc'[1:] }}{{ 7 // 2 ** 2 % 3 / 4 }}{{ 1 < 2 <= 3 }}{{ 'a' in 'abc' and not "
      "x }}",
      "{% if x is defined %}{% elif messages[0].content is string %}{{ messages[0].content.strip().replace('a', 'b') }}"
      "{% else %}{{ raise_exception('no') }}{% endif %}",
      "{% generation %}{% with a = range(3) %}{% for i in a %}{% if i %}{% continue %}{% endif %}{% break %}{% endfor "
      "%}"
      "{% endwith %}{% endgeneration %}{% filter trim | indent(2) %} x {% endfilter %}",
      "{{ dict(a=1).items() | list }}{{ messages[0].get('q', 'd') }}{{ 'Aé' | lower | length }}{{ '7' | int + 1 }}",
  };
}
