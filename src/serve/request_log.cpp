#include "serve/request_log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"

namespace gavel {

namespace {

constexpr const char* kBegin = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",)";

/** The message as a JSON text. */
class JsonText : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& out) override {
    const std::string text = nlohmann::json(std::string(message.payload.data(), message.payload.size()))
                                 .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonText>(); }
};

}  // namespace

void log_as_json() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<JsonText>('*').set_pattern(std::string(kBegin) + R"("message":%*})");
  spdlog::default_logger()->set_formatter(std::move(formatter));
}

std::string request_json(const HttpHead& head, int status, double seconds) {
  constexpr size_t kMost = 200;
  return nlohmann::ordered_json{{"message", "request"},
                                {"request_id", head.id},
                                {"method", head.method.substr(0, kMost)},
                                {"path", head.path.substr(0, kMost)},
                                {"status", status},
                                {"duration_seconds", seconds}}
      .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void log_request_as_json(const HttpHead& head, int status, double seconds) {
  // A logger of its own: lines of the other hold a message alone.
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("requests", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(std::string(kBegin) + "%v", spdlog::pattern_time_type::utc);
    return made;
  }();
  logger->info("{}", request_json(head, status, seconds).substr(1));
}

}  // namespace gavel
