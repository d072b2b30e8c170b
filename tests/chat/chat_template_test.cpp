#include "chat/chat_template.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<ChatMessage> kHello = {{"user", "hi"}};

ChatTemplate read(const std::string& text) {
  return ChatTemplate::parse(text, "base/chat_template.jinja", {{"bos_token", "<s>"}});
}

std::string render(const std::string& text, const std::vector<ChatMessage>& messages = kHello) {
  return read(text).render(messages, true);
}

std::string error_of(const std::string& text, const std::vector<ChatMessage>& messages = kHello) {
  try {
    render(text, messages);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// tools/compare_chat_templates.py --golden writes what Jinja, as transformers sets it up, makes of cases.jinja.
TEST(ChatTemplate, RendersAsTransformersDoes) {
  std::ifstream file(GAVEL_SOURCE_DIR "/tests/chat/golden.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const auto text = golden["template"].get<std::string>();
    SCOPED_TRACE(text);
    std::vector<ChatMessage> messages;
    for (const auto& one : golden["messages"])
      messages.push_back({one["role"].get<std::string>(), one["content"].get<std::string>()});
    auto found = [&] {
      return ChatTemplate::parse(text, "a", golden["tokens"].get<ChatTemplate::Tokens>()).render(messages, true);
    };
    if (golden.contains("error"))
      EXPECT_THROW(found(), Error);
    else
      EXPECT_EQ(found(), golden["text"].get<std::string>());
  }
  EXPECT_GT(cases, 150);
}

TEST(ChatTemplate, ErrorsNameSourceLineAndReason) {
  EXPECT_THAT(error_of("a\n{% if x %}"), AllOf(HasSubstr("base/chat_template.jinja: the chat template, line 2"),
                                               HasSubstr("expected {% endif %}, found the end")));
  EXPECT_THAT(error_of("{{ raise_exception('Roles must alternate') }}"),
              HasSubstr("base/chat_template.jinja: the chat template refuses the messages: Roles must alternate"));
  EXPECT_THAT(error_of("{{ x.y }}"), HasSubstr("'x' is undefined"));
  EXPECT_THAT(error_of("{{ 'a' | sparkle }}"), HasSubstr("there is no filter sparkle"));
  EXPECT_THAT(error_of("{{ '<' | e }}"), HasSubstr("the filter e is not supported"));
  EXPECT_THAT(error_of("{{ 'a'.zfill(3) }}"), HasSubstr("the method zfill of a text is not supported"));
  EXPECT_THAT(error_of("{% include 'x' %}"), HasSubstr("{% include %} is not supported"));
  EXPECT_THAT(error_of("{% fo x %}"), HasSubstr("{% fo %} is no statement"));
  EXPECT_THAT(error_of("{{ 'a"), HasSubstr("a text in quotes has no end"));
  EXPECT_THAT(error_of("{{ 'a' % 1 }}"), HasSubstr("formatting a text with % is not supported"));
  EXPECT_THAT(error_of("{{ 9223372036854775807 + 1 }}"), HasSubstr("a number is too large"));
  EXPECT_THAT(error_of("\xFF"), HasSubstr("not UTF-8"));
}

// What is not looked at need not be known: real templates have branches for tools.
TEST(ChatTemplate, OnlyWhatRunsIsRefused) {
  EXPECT_EQ(render("{% if tools %}{{ tools | groupby('a') }}{{ 'x'.zfill(2) }}{% endif %}{{ messages[0].content }}"),
            "hi");
}

TEST(ChatTemplate, TheDateOfTheDayIsRefused) {
  const std::string own_date =
      "{% if strftime_now is defined %}{% set d = strftime_now('%d %b %Y') %}{% else %}{% set d = '26 Jul 2024' %}"
      "{% endif %}{{ d }}";
  EXPECT_EQ(render(own_date), "26 Jul 2024");
  EXPECT_THAT(error_of("{{ strftime_now('%d') }}"), AllOf(HasSubstr("today's date"), HasSubstr("data.template")));
}

TEST(ChatTemplate, WhatCostsTooMuchIsAnError) {
  const std::string many = "{% set r = range(100000) %}";
  EXPECT_THAT(error_of("{{ range(1000000000) | length }}"), HasSubstr("more than 100000 numbers"));
  EXPECT_THAT(error_of(many + "{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}"), HasSubstr("too"));
  EXPECT_THAT(error_of("{% for a in 'x' * 10000000 %}{{ 'a' }}{% endfor %}"), HasSubstr("too"));
  EXPECT_THAT(error_of("{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(99) %}{% set ns.t = ns.t + ns.t %}"
                       "{% endfor %}"),
              HasSubstr("too large"));
  EXPECT_THAT(error_of("{{ (['a' * 1000000] * 10000000) | length }}"), HasSubstr("too"));
  EXPECT_THAT(error_of(many + "{{ r | map('string') | join('x' * 10000) }}"), HasSubstr("too"));
  EXPECT_THAT(error_of("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(error_of("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}"
                       "{{ ns.l }}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(
      error_of("{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}"
               "{{ ns.l == [ns.l[0], ns.l[1], 1] or ns.l == [ns.l[0], ns.l[1]] }}"),
      HasSubstr("too many steps"));
  auto nested = [](const std::string& open, const std::string& close, int times) {
    std::string out = "{{ ";
    for (int i = 0; i < times; ++i) out += open;
    out += "1";
    for (int i = 0; i < times; ++i) out += close;
    return out + " }}";
  };
  for (auto [open, close] : {std::pair{"(", ")"},
                             {"[", "]"},
                             {"not ", ""},
                             {"-", ""},
                             {"", " + 1"},
                             {"", ".a"},
                             {"", "|abs"},
                             {"", " if 1"},
                             {"{1: ", "}"},
                             {"f(", ")"},
                             {"", " is defined"},
                             {"1 if 1 else ", ""}})
    EXPECT_THAT(error_of(nested(open, close, 50000)), HasSubstr("the chat template, line 1")) << open << close;
  std::string ifs;
  for (int i = 0; i < 100000; ++i) ifs += "{% if 1 %}";
  EXPECT_THAT(error_of(ifs), HasSubstr("nested too deeply"));
  EXPECT_THAT(error_of(std::string((1 << 20) + 1, 'a')), HasSubstr("at most"));
  EXPECT_EQ(render(std::string(1 << 20, 'a')).size(), 1U << 20);
}

TEST(ChatTemplate, LongMessagesHaveRoom) {
  const std::vector<ChatMessage> messages = {{"user", std::string(5'000'000, 'x') + " "}};
  EXPECT_EQ(
      render("{% for m in messages %}{% set c = m.content | trim %}{{ '[' + c.split('y')[-1] + ']' }}{% endfor %}",
             messages)
          .size(),
      5'000'002U);
}

TEST(ChatTemplate, MessagesThatAreNotUtf8AreMended) {
  EXPECT_EQ(render("{{ messages[0].content | length }}{{ messages[0].content }}", {{"user", "a\xFFz"}}),
            "3a\xEF\xBF\xBDz");
}

TEST(ChatTemplate, OneTemplateServesManyThreads) {
  const ChatTemplate chat =
      read("{% for m in messages %}{% macro f(x) %}{{ x | upper }}{% endmacro %}{{ f(m.content) }}{% endfor %}");
  std::vector<std::thread> threads;
  std::vector<std::string> found(4);
  for (size_t i = 0; i < found.size(); ++i)
    threads.emplace_back([&, i] {
      for (int times = 0; times < 200; ++times) found[i] = chat.render(kHello, true);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(found, testing::Each("HI"));
}

TEST(ChatTemplate, FingerprintsTellTextsAndTokensApart) {
  auto of = [](const char* text, const char* bos) {
    return ChatTemplate::parse(text, "a", {{"bos_token", bos}}).fingerprint();
  };
  EXPECT_EQ(of("a", "<s>"), of("a", "<s>"));
  EXPECT_NE(of("a", "<s>"), of("b", "<s>"));
  EXPECT_NE(of("a", "<s>"), of("a", "<t>"));
}

}  // namespace
}  // namespace gavel
