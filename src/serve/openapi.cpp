#include "serve/openapi.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/version.h"
#include "serve/routes.h"

namespace gavel {

namespace {

nlohmann::ordered_json reference_to(std::string_view schema) {
  return {{"$ref", fmt::format("#/components/schemas/{}", schema)}};
}

const char* error_schema(ErrorForm form) {
  switch (form) {
    case ErrorForm::kServer:
      return "ServerError";
    case ErrorForm::kTyped:
      return "TypedError";
    case ErrorForm::kText:
      break;
  }
  return "TextError";
}

nlohmann::ordered_json content_of_answer(const Route& route) {
  const std::string_view answer = route.answer;
  if (answer.find('/') != std::string_view::npos) return {{std::string(answer), {{"schema", {{"type", "string"}}}}}};
  return {{"application/json", {{"schema", reference_to(answer)}}}};
}

nlohmann::ordered_json responses_of(const Route& route) {
  nlohmann::ordered_json responses;
  responses["200"] = {{"description", "The answer"}, {"content", content_of_answer(route)}};
  std::vector<std::pair<const char*, const char*>> errors;
  if (route.read != nullptr)
    errors = {{"400", "The body is not what is expected; the message says where"},
              {"404", "This judge does not answer that"},
              {"408", "The request did not arrive in time"},
              {"411", "A body needs Content-Length or chunked encoding"},
              {"413", "The body is larger than --max-body, or has more pairs than may wait"},
              {"415", "The type is not application/json, or the body is compressed"},
              {"429", "Too much at once; see Retry-After"},
              {"500", "The judge failed"},
              {"504", "No answer in time"}};
  errors.emplace_back("403", "Pages of that site may not ask");
  errors.emplace_back("421", "The service is not called so");
  errors.emplace_back("503", "The service is stopping");
  if (!route.open) errors.emplace_back("401", "The service has a token, and this is not it");
  std::ranges::sort(errors, {}, [](const auto& error) { return std::string_view(error.first); });
  for (const auto& [status, why] : errors)
    responses[status] = {{"description", why},
                         {"content", {{"application/json", {{"schema", reference_to(error_schema(route.errors))}}}}}};
  return responses;
}

nlohmann::ordered_json body_of(const Route& route) {
  nlohmann::ordered_json examples;
  for (const auto& [name, text] : {std::pair("judge", route.example), std::pair("reward", route.reward_example)})
    if (*text != '\0') examples[name] = {{"value", nlohmann::ordered_json::parse(text)}};
  return {{"required", true},
          {"content", {{"application/json", {{"schema", reference_to(route.request)}, {"examples", examples}}}}}};
}

/** "post_v1_judge" */
std::string operation_name(const Route& route) {
  std::string name = route.read == nullptr ? "get" : "post";
  for (const char c : route.path) name += c == '/' || c == '.' ? '_' : c;
  return name;
}

}  // namespace

nlohmann::ordered_json openapi_document() {
  const nlohmann::ordered_json request_id_of_components = {{"$ref", "#/components/parameters/RequestId"}};
  nlohmann::ordered_json paths;
  for (const Route& route : routes()) {
    nlohmann::ordered_json operation = {{"operationId", operation_name(route)},
                                        {"tags", nlohmann::ordered_json::array({route.tag})},
                                        {"summary", route.summary}};
    if (route.needs_rewards) operation["description"] = "Of a reward alone (task: reward).";
    operation["parameters"] = nlohmann::ordered_json::array({request_id_of_components});
    if (route.read != nullptr) operation["requestBody"] = body_of(route);
    operation["responses"] = responses_of(route);
    if (route.open) operation["security"] = nlohmann::ordered_json::array();
    paths[route.path][route.read == nullptr ? "get" : "post"] = std::move(operation);
  }
  const nlohmann::ordered_json token_asked = {{"token", nlohmann::ordered_json::array()}};
  const nlohmann::ordered_json request_id = {
      {"name", "X-Request-Id"},
      {"in", "header"},
      {"description", "Tells the request in logs and in the answer's header; another is made where it is unfit"},
      {"schema", {{"type", "string"}, {"maxLength", 128}, {"pattern", "^[A-Za-z0-9._:/+=@~-]+$"}}}};
  return {{"openapi", "3.1.0"},
          {"info",
           {{"title", "Gavel"},
            {"summary", "A judge of pairs of answers, or a reward of single ones"},
            {"version", version()},
            {"license", {{"name", "Apache 2.0"}, {"identifier", "Apache-2.0"}}}}},
          {"servers", nlohmann::ordered_json::array({nlohmann::ordered_json{{"url", "/"}}})},
          // A service without a token takes requests without one.
          {"security", nlohmann::ordered_json::array({token_asked, nlohmann::ordered_json::object()})},
          {"paths", std::move(paths)},
          {"components",
           {{"schemas", openapi_schemas()},
            {"parameters", {{"RequestId", request_id}}},
            {"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
}

}  // namespace gavel
