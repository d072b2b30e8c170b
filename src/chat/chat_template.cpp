#include "chat/chat_template.h"

#include "base/error.h"
#include "base/utf8.h"
#include "chat/jinja_parser.h"
#include "chat/jinja_renderer.h"

namespace gavel {

namespace {

// The largest one seen is 16 KB.
constexpr size_t kMaxTemplateSize = size_t{1} << 20;
constexpr size_t kMemory = size_t{64} << 20, kMemoryPerByte = 32;
constexpr size_t kSteps = 4'000'000, kStepsPerByte = 8;

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view text, std::string source, Tokens tokens) {
  if (text.size() > kMaxTemplateSize)
    fail("{}: the chat template has {} bytes; at most {} are read", source, text.size(), kMaxTemplateSize);
  if (!is_valid_utf8(text)) fail("{}: the chat template is not UTF-8", source);
  ChatTemplate out;
  int line = 1;
  try {
    out.program_ = jinja::parse(text, line);
  } catch (const jinja::Problem& problem) {
    fail("{}: the chat template, line {}: {}", source, line, problem.what());
  }
  out.text_ = text;
  out.source_ = std::move(source);
  out.tokens_ = std::move(tokens);
  return out;
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages, bool add_generation_prompt) const {
  using jinja::Kind;
  using jinja::Value;
  size_t size = 0;
  for (const ChatMessage& message : messages) size += message.role.size() + message.content.size() + 64;
  jinja::Heap heap(kMemory + kMemoryPerByte * size, kSteps + kStepsPerByte * size);
  int line = 1;
  try {
    auto text = [&](std::string_view from) {
      if (is_valid_utf8(from)) return Value::of(from);
      std::string mended;
      append_lossy(mended, from);
      return Value::of(heap.keep(std::move(mended)));
    };
    std::vector<Value> list;
    for (const ChatMessage& message : messages) {
      jinja::Pairs* pairs = heap.pairs();
      pairs->entries = {{Value::of("role"), text(message.role)}, {Value::of("content"), text(message.content)}};
      list.push_back(Value::of(Kind::kDict, pairs));
    }
    jinja::Scope variables;
    for (const auto& [name, token] : tokens_) variables.set(name, text(token));
    variables.set("messages", Value::of(Kind::kList, heap.items(std::move(list))));
    // transformers hands these over even where there are none.
    variables.set("tools", Value::none());
    variables.set("documents", Value::none());
    variables.set("add_generation_prompt", Value::boolean(add_generation_prompt));
    return jinja::Renderer(heap, *program_, line).render(variables);
  } catch (const jinja::Refusal& refusal) {
    fail("{}: the chat template refuses the messages: {}", source_, refusal.what());
  } catch (const jinja::Problem& problem) {
    fail("{}: the chat template, line {}: {}", source_, line, problem.what());
  }
}

std::string ChatTemplate::fingerprint() const {
  std::string out = text_;
  for (const auto& [name, token] : tokens_) out += fmt::format("|{}={}", name, token);
  return out;
}

}  // namespace gavel
