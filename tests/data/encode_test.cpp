#include "data/encode.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "base/random.h"
#include "data/dataset.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PreferenceRow row_of(std::vector<std::string> prompt, std::vector<std::string> a, std::vector<std::string> b) {
  return {"1", std::move(prompt), std::move(a), std::move(b), {1, 0, 0}, true, 1};
}

std::string text_of(const std::vector<int32_t>& ids) {
  return std::string(ids.begin(), ids.end());
}

TEST(Template, OriginIsTheOriginsText) {
  Template origin = Template::parse("origin");
  PreferenceRow row = row_of({"p1", "p2"}, {"a1", "a2"}, {"b1", "b2"});
  EXPECT_EQ(origin.render(row, false), "User prompt: p1 p2\n\nModel A :\na1 a2\n\n--------\n\nModel B:\nb1 b2");
  EXPECT_EQ(origin.render(row, true), "User prompt: p1 p2\n\nModel A :\nb1 b2\n\n--------\n\nModel B:\na1 a2");
  EXPECT_EQ(origin.render(row, true), origin.render(swapped(row), false));
}

TEST(Template, TurnsGoesRoundByRound) {
  Template turns = Template::parse("turns");
  EXPECT_EQ(turns.render(row_of({"p"}, {"a"}, {"b"}), false),
            Template::parse("origin").render(row_of({"p"}, {"a"}, {"b"}), false));
  EXPECT_EQ(turns.render(row_of({"p1", "p2"}, {"a1", "a2"}, {"b1"}), false),
            "User prompt: p1\n\nModel A :\na1\n\n--------\n\nModel B:\nb1\n\n========\n\n"
            "User prompt: p2\n\nModel A :\na2\n\n--------\n\nModel B:\n");
}

TEST(Template, AQuestionStandsAtTheEnd) {
  PreferenceRow row = row_of({"p1", "p2"}, {"a1", "a2"}, {"b1", "b2"});
  for (const char* name : {"origin", "turns", "{prompt} {response_a} {response_b}"}) {
    Template plain = Template::parse(name), asks = plain.with_question("Which?");
    EXPECT_EQ(asks.render(row, true), plain.render(row, true) + "\n\n========\n\nWhich?\n\nAnswer:");
    EXPECT_NE(asks.fingerprint(), plain.fingerprint());
    EXPECT_NE(asks.fingerprint(), plain.with_question("What?").fingerprint());
  }
  // In a chat the user asks, and the assistant's turn begins.
  EXPECT_EQ(Template::parse("chatml").with_question("Which?").render(row, false),
            "<|im_start|>user\n" + Template::parse("turns").render(row, false) +
                "\n\n========\n\nWhich?<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Encode, AQuestionIsNotCutOff) {
  EncodeOptions options;
  options.text = Template::parse("{prompt}{response_a}{response_b}").with_question("Which?");
  options.max_length = 40;
  const PreferenceRow row = row_of({std::string(100, 'p')}, {std::string(100, 'a')}, {std::string(100, 'b')});
  for (Truncation truncation : {Truncation::kLeft, Truncation::kProportional}) {
    options.truncation = truncation;
    const std::string text = text_of(encode_row(row, false, options, byte_encoder()).ids);
    EXPECT_EQ(text.size(), 40u);
    EXPECT_TRUE(text.ends_with("b\n\n========\n\nWhich?\n\nAnswer:")) << text;
  }
}

TEST(Template, OwnTextsWithPlaceholders) {
  EXPECT_EQ(
      Template::parse("{{Q}} {prompt} [A] {response_a} [B] {response_b}!").render(row_of({"p"}, {"a"}, {"b"}), true),
      "{Q} p [A] b [B] a!");
  EXPECT_THAT(error_of([] { Template::parse("orign"); }), HasSubstr("did you mean 'origin'"));
  EXPECT_THAT(error_of([] { Template::parse("{prompt} {respons_a} {response_b}"); }),
              HasSubstr("did you mean 'response_a'"));
  EXPECT_THAT(error_of([] { Template::parse("{prompt} {response_a}"); }), HasSubstr("{response_b} once, found it 0"));
  EXPECT_THAT(error_of([] { Template::parse("{prompt} {response_a} {response_b"); }), HasSubstr("not closed"));
  EXPECT_THAT(error_of([] { Template::parse("} {prompt} {response_a} {response_b}"); }), HasSubstr("single }"));
}

TEST(Template, ChatFormatsWrapTheTurns) {
  PreferenceRow row = row_of({"p1", "p2"}, {"a1", "a2"}, {"b1", "b2"});
  std::string turns = Template::parse("turns").render(row, true);
  EXPECT_EQ(Template::parse("chatml").render(row, true),
            "<|im_start|>user\n" + turns + "<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Template::parse("llama3").render(row, true),
            "<|start_header_id|>user<|end_header_id|>\n\n" + turns +
                "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_NE(Template::parse("chatml").fingerprint(), Template::parse("turns").fingerprint());
  // The header of the answer survives proportional truncation, whatever is cut.
  EncodeOptions options{.text = Template::parse("chatml"), .truncation = Truncation::kProportional, .max_length = 120};
  std::string text =
      text_of(encode_row(row_of({std::string(90, 'p')}, {"a"}, {"b"}), false, options, byte_encoder()).ids);
  EXPECT_EQ(text.size(), 120u);
  EXPECT_TRUE(text.ends_with("\nb<|im_end|>\n<|im_start|>assistant\n"));
}

Template chat_of(const std::string& text, const std::string& begin_token = "") {
  return Template::chat(ChatTemplate::parse(text, "base", {{"bos_token", "<s>"}}), begin_token);
}

TEST(Template, AModelsChatTemplateWrapsTheTurns) {
  PreferenceRow row = row_of({"p1", "p2"}, {"a1", "a2"}, {"b1", "b2 \n"});
  const std::string turns = Template::parse("turns").render(row, false);
  const std::string text =
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
      "{% if add_generation_prompt %}[assistant]{% endif %}";
  EXPECT_EQ(chat_of(text).render(row, false), "<s>[user]" + turns + "[end][assistant]");
  // The tokenizer writes the begin token itself.
  EXPECT_EQ(chat_of(text, "<s>").render(row, false), "[user]" + turns + "[end][assistant]");
  EXPECT_EQ(chat_of(text, "<t>").render(row, false), "<s>[user]" + turns + "[end][assistant]");
  EXPECT_NE(chat_of(text).fingerprint(), chat_of(text + "!").fingerprint());
  EXPECT_NE(chat_of(text).fingerprint(), chat_of(text, "<s>").fingerprint());
  EXPECT_NE(chat_of(text).fingerprint(), Template::parse("turns").fingerprint());

  Template::Framed framed = chat_of(text).render_framed(row, false);
  EXPECT_EQ(framed.text.substr(framed.foreign.at(0).first, framed.foreign.at(0).second - framed.foreign.at(0).first),
            turns);
  auto joined = [&](const Template& chat, size_t first) {
    std::string out;
    for (const auto& piece : chat.pieces(row, false, first)) out += piece.text;
    return out;
  };
  EXPECT_EQ(joined(chat_of(text), 0), chat_of(text).render(row, false));
  EXPECT_EQ(joined(chat_of(text), 1),
            "<s>[user]User prompt: p2\n\nModel A :\na2\n\n--------\n\nModel B:\nb2 \n[end][assistant]");
  // Where the format trims a message, truncation does too.
  const Template trims = chat_of("<{{ messages[0]['content'] | trim }}>");
  EXPECT_EQ(trims.render(row, false), "<" + turns.substr(0, turns.size() - 2) + ">");
  EXPECT_EQ(joined(trims, 0), trims.render(row, false));
  row.response_b = {"b1", " "};
  EXPECT_EQ(joined(trims, 0), trims.render(row, false));
  EXPECT_THAT(trims.render(row, false), testing::EndsWith("Model B:>"));
}

TEST(Template, ChatTemplatesThatDoNotWriteAUsersMessageOnceAreRefused) {
  auto error = [](const std::string& text) { return error_of([&] { chat_of(text); }); };
  EXPECT_THAT(error("hello"), testing::AllOf(HasSubstr("data.template: chat: base"), HasSubstr("as it is")));
  EXPECT_THAT(error("{{ messages[0].content | upper }}"), HasSubstr("as it is"));
  EXPECT_THAT(error("{{ messages[0].content }}{{ messages[0].content }}"), HasSubstr("more than once"));
  EXPECT_THAT(
      error("{% if messages[0].role != 'system' %}{{ raise_exception('a system message, please') }}{% endif %}"),
      HasSubstr("a system message, please"));
  EXPECT_THAT(error("{{ strftime_now('%d') }}{{ messages[0].content }}"), HasSubstr("today's date"));
  // What holds for one text need not hold for all: each row is rendered.
  Template moody = chat_of("{{ 'no' if 'a1' in messages[0].content else messages[0].content }}");
  EXPECT_THAT(error_of([&] { moody.render(row_of({"p"}, {"a1"}, {"b"}), false); }), HasSubstr("as it is"));
}

TEST(Template, ConversationsAreRoundsWithOneAnswer) {
  const PreferenceRow row = row_of({"p1", "p2"}, {"a1", "a2"}, {"b1", "b2"});
  EXPECT_EQ(Template::parse_conversation("turns").render(row, false),
            "User: p1\n\nAssistant: a1\n\nUser: p2\n\nAssistant: a2");
  EXPECT_EQ(Template::parse_conversation("chatml").render(row, true),
            "<|im_start|>user\np1<|im_end|>\n<|im_start|>assistant\nb1<|im_end|>\n"
            "<|im_start|>user\np2<|im_end|>\n<|im_start|>assistant\nb2<|im_end|>\n");
  EXPECT_EQ(Template::parse_conversation("Q {prompt} A {response}").render(row, false), "Q p1 A a1\n\nQ p2 A a2");
  EXPECT_THAT(error_of([] { Template::parse_conversation("{prompt} {response_a}"); }),
              HasSubstr("known are prompt, response"));
  EXPECT_THAT(error_of([] { Template::parse_conversation("turn"); }), HasSubstr("did you mean 'turns'"));
  // The same by a template of the model's own, in which the answers' special tokens are text.
  const Template chat = Template::chat_conversation(
      ChatTemplate::parse("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}",
                          "base", {{"bos_token", "<s>"}}),
      "<s>");
  const PreferenceRow odd = row_of({"p1", "p2"}, {" a1 ", "</>"}, {"", "b2"});
  const Template::Framed framed = chat.render_framed(odd, false);
  EXPECT_EQ(framed.text, "<user>p1</><assistant>a1</><user>p2</><assistant></></>");
  std::vector<std::string> parts;
  for (const auto& [begin, end] : framed.foreign) parts.push_back(framed.text.substr(begin, end - begin));
  EXPECT_THAT(parts, ElementsAre("p1", "a1", "p2", "</>"));
  EXPECT_EQ(chat.render(odd, true), "<user>p1</><assistant></><user>p2</><assistant>b2</>");
  // A long conversation loses its first rounds.
  EncodeOptions options{.text = chat, .truncation = Truncation::kProportional, .max_length = 40};
  EXPECT_EQ(text_of(encode_row(odd, true, options, byte_encoder()).ids), "<user>p2</><assistant>b2</>");
}

TEST(EncodeRow, ARowsTextIsMarkedAsAStrangersInChatFormats) {
  TextEncoder encoder = byte_encoder();
  std::vector<std::string> foreign;
  encoder.encode_around = [&](std::string_view text, std::span<const TextEncoder::ByteRange> ranges,
                              std::vector<int32_t>& ids) {
    for (const auto& [begin, end] : ranges) foreign.emplace_back(text.substr(begin, end - begin));
    byte_encoder().encode(text, ids);
  };
  PreferenceRow row = row_of({"p"}, {"a"}, {"b"});
  const std::string turns = Template::parse("turns").render(row, false);
  auto encoded = [&](Template text, int64_t max_length) {
    EncodeOptions options{.text = std::move(text), .truncation = Truncation::kProportional, .max_length = max_length};
    return text_of(encode_row(row, false, options, encoder).ids);
  };
  const Template chat = chat_of("[u]{{ messages[0].content }}[/u]");
  EXPECT_EQ(encoded(chat, 1000), "[u]" + turns + "[/u]");
  EXPECT_THAT(foreign, ElementsAre(turns));
  foreign.clear();
  row.prompt[0] = "pppppppppp";
  EXPECT_EQ(encoded(chat, static_cast<int64_t>(turns.size()) + 7), "[u]" + turns + "[/u]");
  EXPECT_THAT(foreign, testing::IsSupersetOf({" pppppppppp", "a", "b"}));
  foreign.clear();
  encoded(Template::parse("turns"), 1000);
  EXPECT_THAT(foreign, testing::IsEmpty());
  encoded(Template::parse("chatml"), 1000);
  EXPECT_EQ(foreign.size(), 1U);
}

TEST(Encode, ATextThatIsWrittenOutStaysAsItIs) {
  TextEncoder encoder = byte_encoder();
  encoder.prefix = {'<'};
  encoder.suffix = {'>'};
  PreferenceRow row = row_of({"not read"}, {"one"}, {"<two>"});
  row.written_out = true;
  EncodeOptions options{.text = Template::parse("chatml"), .max_length = 5};
  EXPECT_EQ(text_of(encode_row(row, false, options, encoder).ids), "<one>");
  EXPECT_EQ(text_of(encode_row(row, true, options, encoder).ids), "<two>") << "what is there is not put there again";
  row.response_a = {"<seven"};
  for (Truncation truncation : {Truncation::kRight, Truncation::kLeft, Truncation::kProportional}) {
    options.truncation = truncation;
    const EncodedText cut = encode_row(row, false, options, encoder);
    EXPECT_EQ(text_of(cut.ids), truncation == Truncation::kRight ? "<sev>" : "<ven>");
    EXPECT_EQ(cut.full_length, 7);
  }
}

TEST(Encode, RightAndLeftCutTheWholeTextToExactlyMaxLength) {
  TextEncoder encoder = byte_encoder();
  encoder.prefix = {1};
  encoder.suffix = {2, 3};
  PreferenceRow row = row_of({"prompt"}, {"first answer"}, {"second answer"});
  EncodeOptions options;
  std::string whole = options.text.render(row, false);
  for (int64_t max_length : {4, 10, 40, 70, 85, 86, 87, 200}) {
    options.max_length = max_length;
    for (Truncation truncation : {Truncation::kRight, Truncation::kLeft}) {
      options.truncation = truncation;
      EncodedText out = encode_row(row, false, options, encoder);
      EXPECT_EQ(out.full_length, static_cast<int64_t>(whole.size()) + 3);
      EXPECT_EQ(static_cast<int64_t>(out.ids.size()), std::min(max_length, out.full_length));
      EXPECT_EQ(out.ids.front(), 1);
      EXPECT_EQ(out.ids.back(), 3);
      size_t kept = out.ids.size() - 3;
      EXPECT_EQ(text_of({out.ids.begin() + 1, out.ids.end() - 2}),
                truncation == Truncation::kRight ? whole.substr(0, kept) : whole.substr(whole.size() - kept));
    }
  }
  options.max_length = 3;
  EXPECT_THAT(error_of([&] { encode_row(row, false, options, encoder); }), HasSubstr("leaves no room"));
}

TEST(Encode, ProportionalKeepsTheTemplatesWordsAndTheShares) {
  TextEncoder encoder = byte_encoder();
  EncodeOptions options{.truncation = Truncation::kProportional};
  PreferenceRow row = row_of({std::string(500, 'p')}, {std::string(500, 'a')}, {std::string(500, 'b')});
  const int64_t words = static_cast<int64_t>(options.text.render(row_of({""}, {""}, {""}), false).size());
  options.max_length = words + 100;
  EncodedText out = encode_row(row, false, options, encoder);
  // The space before the prompt counts as the prompt's, hence one letter less or more.
  std::string text = text_of(out.ids);
  EXPECT_EQ(static_cast<int64_t>(text.size()), options.max_length);
  EXPECT_TRUE(text.starts_with("User prompt: ppp"));
  EXPECT_NE(text.find("p\n\nModel A :\naaa"), std::string::npos);
  EXPECT_NE(text.find("a\n\n--------\n\nModel B:\nbbb"), std::string::npos);
  EXPECT_NEAR(static_cast<double>(std::count(text.begin(), text.end(), 'b')), 40, 1);

  // A short answer leaves its room to the others.
  row.response_a = {"aaaa"};
  text = text_of(encode_row(row, false, options, encoder).ids);
  EXPECT_EQ(static_cast<int64_t>(text.size()), options.max_length);
  EXPECT_NE(text.find("\naaaa\n"), std::string::npos);
  EXPECT_GT(std::count(text.begin(), text.end(), 'b'), 60);

  options.max_length = words - 5;
  EXPECT_THAT(error_of([&] { encode_row(row, false, options, encoder); }), HasSubstr("template's own words"));
}

TEST(Encode, ProportionalDropsTheOldestRoundsWhole) {
  TextEncoder encoder = byte_encoder();
  EncodeOptions options{.text = Template::parse("turns"), .truncation = Truncation::kProportional};
  PreferenceRow row = row_of({"old question", "new question"}, {"old a", "new a"}, {"old b", "new b"});
  options.max_length = 100;
  std::string expected = options.text.render(row_of({"new question"}, {"new a"}, {"new b"}), false);
  ASSERT_LT(expected.size(), 100u);
  EXPECT_EQ(text_of(encode_row(row, false, options, encoder).ids), expected);
  options.text = Template::parse("origin");
  EXPECT_EQ(text_of(encode_row(row, true, options, encoder).ids).find("old"), 13u) << "this one fits whole";
  options.max_length = 90;
  EXPECT_EQ(text_of(encode_row(row, false, options, encoder).ids), expected);
}

TEST(Encode, BudgetsSumExactly) {
  Random random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<int64_t> wanted;
    std::vector<double> shares;
    int64_t total = 0;
    for (uint64_t n = 1 + random.below(6); n > 0; --n) {
      wanted.push_back(static_cast<int64_t>(random.below(random.below(2) == 0 ? 5 : 300)));
      shares.push_back(random.below(2) == 0 ? 0.2 : 0.4);
      total += wanted.back();
    }
    int64_t budget = static_cast<int64_t>(random.below(500));
    std::vector<int64_t> kept = share_budget(budget, wanted, shares);
    int64_t sum = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_LE(kept[i], wanted[i]);
      EXPECT_GE(kept[i], 0);
      sum += kept[i];
    }
    EXPECT_EQ(sum, std::min(budget, total));
  }
  EXPECT_THAT(share_budget(100, {1000, 1000, 1000}, {0.2, 0.4, 0.4}), ElementsAre(20, 40, 40));
  EXPECT_THAT(share_budget(100, {1000, 10, 1000}, {0.2, 0.4, 0.4}), ElementsAre(30, 10, 60));
}

TEST(Dataset, HoldsRowsAndTheirExchanges) {
  std::vector<PreferenceRow> rows;
  for (int i = 0; i < 300; ++i)
    rows.push_back(row_of({fmt::format("p{}", i)}, {std::string(static_cast<size_t>(i % 7), 'a')}, {"b"}));
  rows[5].has_label = false;
  TokenizeOptions options;
  options.with_swapped = true;
  options.max_length = 80;
  options.threads = 3;
  TokenizedDataset dataset = tokenize(rows, options, byte_encoder());
  ASSERT_EQ(dataset.num_rows(), 300);
  for (int64_t i = 0; i < 300; ++i) {
    auto span = dataset.tokens(i);
    EXPECT_EQ(text_of({span.begin(), span.end()}),
              options.text.render(rows[static_cast<size_t>(i)], false).substr(0, 80));
    span = dataset.tokens(i, true);
    EXPECT_EQ(text_of({span.begin(), span.end()}),
              options.text.render(rows[static_cast<size_t>(i)], true).substr(0, 80));
  }
  EXPECT_THAT(dataset.label(3, true), ElementsAre(0, 1, 0));
  EXPECT_THAT(dataset.label(5), ElementsAre(0, 0, 0));
  EXPECT_THAT(error_of([&] { dataset.tokens(300); }), HasSubstr("row 300 of 300"));
}

}  // namespace
}  // namespace gavel
