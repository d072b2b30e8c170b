#pragma once
#include <nlohmann/json.hpp>

namespace gavel {

/** The service in OpenAPI 3.1: every route of routes(), with its examples. */
nlohmann::ordered_json openapi_document();

/** The schemas that Route::request and Route::answer name. */
nlohmann::ordered_json openapi_schemas();

}  // namespace gavel
