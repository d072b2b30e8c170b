// Lines of JSON with template, messages, add_generation_prompt and tokens from the standard input become lines with the
// rendered text, or with the error.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "chat/chat_template.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto given = nlohmann::json::parse(line);
    std::vector<gavel::ChatMessage> messages;
    for (const auto& one : given["messages"])
      messages.push_back({one["role"].get<std::string>(), one["content"].get<std::string>()});
    nlohmann::json out;
    try {
      auto chat = gavel::ChatTemplate::parse(given["template"].get<std::string>(), "template",
                                             given["tokens"].get<gavel::ChatTemplate::Tokens>());
      out["text"] = chat.render(messages, given["add_generation_prompt"].get<bool>());
    } catch (const gavel::Error& error) {
      out["error"] = error.what();
    }
    std::cout << out.dump() << std::endl;
  }
  return 0;
}
