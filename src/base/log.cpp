#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <unistd.h>

#include <memory>

#include "base/terminal.h"

namespace gavel {

void setup_logging(bool quiet) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      shows_colours(::isatty(STDERR_FILENO) != 0) ? spdlog::color_mode::always : spdlog::color_mode::never);
  auto logger = std::make_shared<spdlog::logger>("gavel", std::move(sink));
  logger->set_pattern("%^%v%$");
  logger->set_level(quiet ? spdlog::level::warn : spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace gavel
