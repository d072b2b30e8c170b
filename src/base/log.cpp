#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <unistd.h>

#include <memory>

#include "base/terminal.h"

namespace gavel {

namespace {

/** The message as it may be shown (printable()): names of files, keys and texts in it come from anywhere. */
class PrintableText : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& out) override {
    constexpr size_t kMost = 256 << 10;  // tables are long
    const std::string text = printable({message.payload.data(), message.payload.size()}, kMost);
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PrintableText>(); }
};

}  // namespace

void setup_logging(bool quiet) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      shows_colours(::isatty(STDERR_FILENO) != 0) ? spdlog::color_mode::always : spdlog::color_mode::never);
  auto logger = std::make_shared<spdlog::logger>("gavel", std::move(sink));
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<PrintableText>('*').set_pattern("%^%*%$");
  logger->set_formatter(std::move(formatter));
  logger->set_level(quiet ? spdlog::level::warn : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace gavel
