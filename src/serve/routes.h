#pragma once
#include <span>
#include <string>
#include <string_view>

#include "serve/forms.h"

namespace gavel {

/** What is fetched with GET. */
enum class Page : uint8_t { kNone, kForm, kHealth, kMetrics, kModels, kOpenApi };

/** A path of the service and all that is known of it: the service finds its way, its errors and its document (openapi.h) by these. */
struct Route {
  std::string path;
  /** POST: how a body is read. Throws Error saying what is wrong with it. nullptr: GET `page`. */
  Question (*read)(std::string_view body, const FormContext& context) = nullptr;
  Page page = Page::kNone;
  /** Whether the judge's task must be reward. */
  bool needs_rewards = false;
  /** Whether it is answered without the service's token. */
  bool open = false;
  ErrorForm errors = ErrorForm::kText;
  /** Whose form it is. */
  const char* tag = "";
  const char* summary = "";
  /** Names of schemas in openapi_schemas(); of an answer that is no JSON, its media type. */
  const char *request = "", *answer = "";
  /** Bodies that are read as they are: by a judge of pairs, and by a reward; "" where there is none. */
  const char *example = "", *reward_example = "";

  const char* method() const { return read == nullptr ? "GET" : "POST"; }
};

std::span<const Route> routes();
/** nullptr where there is none. */
const Route* route_at(std::string_view path);
/** How errors at a path are written; there may be no such route. */
ErrorForm error_form_at(std::string_view path);

}  // namespace gavel
