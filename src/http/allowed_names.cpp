#include "http/allowed_names.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>

#include "base/error.h"

namespace gavel {

namespace {

bool is_address(const std::string& text) {
  boost::system::error_code error;
  boost::asio::ip::make_address(text, error);
  return !error;
}

/** The name of NAME, NAME:PORT, [IPV6] or [IPV6]:PORT, in lower case and without the dot that may end it; "" where the text is
 * none of these. */
std::string name_of(std::string_view authority) {
  std::string_view port;
  std::string name;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return "";
    name = lower_case(authority.substr(1, end - 1));
    if (!is_address(name)) return "";
    port = authority.substr(end + 1);
    if (!port.empty() && port.front() != ':') return "";
  } else {
    const size_t colon = authority.find(':');
    name = lower_case(authority.substr(0, colon));
    if (colon != std::string_view::npos) port = authority.substr(colon);
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-._") != std::string::npos) return "";
    if (name.size() > 1 && name.ends_with('.')) name.pop_back();
  }
  if (port.size() > 6 || (port.size() > 1 && port.find_first_not_of("0123456789", 1) != std::string_view::npos))
    return "";
  return name;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

AllowedNames::AllowedNames(const std::vector<std::string>& hosts, const std::vector<std::string>& origins) {
  for (const std::string& host : hosts) {
    any_host_ = any_host_ || host == "*";
    if (host == "*") continue;
    const std::string name = name_of(host);
    if (name.empty() || host.find("]:") != std::string::npos ||
        (host.front() != '[' && host.find(':') != std::string::npos))
      fail("--allow-host: '{}' is no name of a host; expected one like judge.example, without scheme and port, or *",
           host);
    hosts_.push_back(name);
  }
  for (const std::string& origin : origins) {
    any_origin_ = any_origin_ || origin == "*";
    if (origin == "*") continue;
    const size_t scheme = origin.find("://");
    if (scheme == std::string::npos || name_of(std::string_view(origin).substr(scheme + 3)).empty())
      fail("--allow-origin: '{}' is no origin; expected one like https://judge.example (scheme, host and port), or *",
           origin);
    origins_.push_back(lower_case(origin));
  }
}

bool AllowedNames::host(std::string_view value) const {
  const std::string name = name_of(value);
  if (name.empty()) return false;
  return any_host_ || name == "localhost" || name.ends_with(".localhost") || is_address(name) ||
         std::ranges::find(hosts_, name) != hosts_.end();
}

bool AllowedNames::other_site(std::string_view origin) const {
  return any_origin_ || std::ranges::find(origins_, lower_case(origin)) != origins_.end();
}

bool AllowedNames::same_site(std::string_view origin, std::string_view host) {
  const size_t scheme = origin.find("://");
  return scheme != std::string_view::npos && !host.empty() && lower_case(origin.substr(scheme + 3)) == lower_case(host);
}

}  // namespace gavel
