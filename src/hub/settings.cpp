#include "hub/settings.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/file.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_true(const char* name) {
  std::string value = variable(name);
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return c >= 'a' && c <= 'z' ? c - 32 : c; });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path home() {
  if (const std::string home = variable("HOME"); !home.empty()) return home;
  const passwd* user = ::getpwuid(::geteuid());
  return user == nullptr ? "/" : user->pw_dir;
}

fs::path folder(const std::string& text) {
  if (text == "~") return home();
  return text.starts_with("~/") ? home() / text.substr(2) : fs::path(text);
}

/** A header is made of it, so it has nothing but letters that can be seen. */
std::string clean_token(std::string_view text, const std::string& source) {
  const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  if (text.size() > 4096 || !std::ranges::all_of(text, [](char c) { return c > ' ' && c < 127; }))
    fail("{}: holds no token of the hub: expected one word", source);
  return std::string(text);
}

void find_token(HubSettings& settings, const fs::path& hugging_face) {
  const std::string named = variable("HF_TOKEN_PATH");
  settings.token_file = named.empty() ? hugging_face / "token" : folder(named);
  if (is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    settings.token_source = name;
    settings.token = clean_token(variable(name), name);
    if (!settings.token.empty()) return;
  }
  settings.token_source = settings.token_file.string();
  std::error_code ignored;
  if (fs::is_regular_file(settings.token_file, ignored))
    settings.token = clean_token(read_text(settings.token_file), settings.token_source);
}

}  // namespace

HubSettings hub_settings() {
  HubSettings settings;
  const std::string xdg = variable("XDG_CACHE_HOME"), hf_home = variable("HF_HOME");
  const fs::path hugging_face =
      !hf_home.empty() ? folder(hf_home) : (xdg.empty() ? home() / ".cache" : folder(xdg)) / "huggingface";
  settings.cache = hugging_face / "hub";
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string cache = variable(name); !cache.empty()) {
      settings.cache = folder(cache);
      break;
    }
  if (std::string endpoint = variable("HF_ENDPOINT"); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    if (!endpoint.starts_with("https://") && !endpoint.starts_with("http://"))
      fail("HF_ENDPOINT: expected an address that begins with https://, found {}", endpoint);
    settings.endpoint = endpoint;
  }
  settings.offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"})
    if (settings.certificates.empty()) settings.certificates = variable(name);
  find_token(settings, hugging_face);
  return settings;
}

}  // namespace gavel
