#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** The letters A to Z made small, whatever the locale: names of hosts and headers. */
std::string lower_case(std::string_view text);

/** Which names a service may be called by, and which pages of other sites may ask it.
 *
 * A page that a browser shows can send requests to programs on the same machine. Two things stop it: the header Origin tells the
 * page's own address, and the header Host the name that the page knew the service by. A name is what an attacker can point at
 * 127.0.0.1 (DNS rebinding); an address in numbers can't be pointed anywhere, so these are all allowed. */
class AllowedNames {
 public:
  /** `hosts`: more names beside addresses in numbers, "localhost" and names that end in ".localhost"; "*" is any.
   * `origins`: like "https://judge.example", or "*". Throws Error for what is no name and no origin. */
  AllowedNames(const std::vector<std::string>& hosts, const std::vector<std::string>& origins);

  /** Whether a Host header (NAME, NAME:PORT, [IPV6]:PORT) may stay. */
  bool host(std::string_view value) const;
  /** Whether a page of another site may ask (CORS). */
  bool other_site(std::string_view origin) const;
  /** Whether the page is the service's own: its address is the one in Host. */
  static bool same_site(std::string_view origin, std::string_view host);

 private:
  std::vector<std::string> hosts_, origins_;
  bool any_host_ = false, any_origin_ = false;
};

}  // namespace gavel
