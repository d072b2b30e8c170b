#pragma once
#include "http/handler.h"

namespace gavel {

/** From now on each line of the log is a JSON object on standard error: {"time": in UTC, "level", "message"}. */
void log_as_json();

/** A line of a request that ended: {"time", "level": "info", "message": "request", "request_id", "method", "path", "status",
 * "duration_seconds"}. Nothing of headers, queries and bodies is in it. For several threads. */
void log_request_as_json(const HttpHead& head, int status, double seconds);

/** The same without the time, and of a path as much as is of use. */
std::string request_json(const HttpHead& head, int status, double seconds);

}  // namespace gavel
