// The functions of libcurl that Gavel calls, under their own names, from the system's library, which is loaded when the first of
// them is called: a program that downloads nothing runs where there is no libcurl, and one that does takes the system's, with the
// system's certificates.
#include <dlfcn.h>

#include <cstdarg>

#include "base/error.h"

namespace gavel {

namespace {

void* function(const char* name) {
  // Never closed: it has threads and state of its own.
  static void* const library = [] {
    void* opened = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr)
      fail(
          "libcurl is needed to ask the network, and is not installed ({}): install it (on Debian: apt-get install "
          "libcurl4)",
          ::dlerror());
    // Once for the process, and here, where only one thread can be: libcurl's own count of it is not safe with threads everywhere.
    constexpr long kAll = 3;  // CURL_GLOBAL_ALL, which is CURL_GLOBAL_DEFAULT
    auto* const start = reinterpret_cast<int (*)(long)>(::dlsym(opened, "curl_global_init"));
    if (start == nullptr || start(kAll) != 0) fail("libcurl.so.4 can't be started");
    return opened;
  }();
  void* found = ::dlsym(library, name);
  if (found == nullptr) fail("libcurl.so.4 has no function {}: install a newer libcurl", name);
  return found;
}

/** Calls the library's function of this name. */
template <class Result, class... Args>
Result call(const char* name, Args... args) {
  return reinterpret_cast<Result (*)(Args...)>(function(name))(args...);
}

}  // namespace

}  // namespace gavel

using gavel::call;

// curl/curl.h declares them for those who call them. Its declarations differ in `const` from one version to the next, and are not
// wanted here: handles and lists are pointers, options and codes are ints.
extern "C" {

void* curl_easy_init() {
  return call<void*>("curl_easy_init");
}
void curl_easy_cleanup(void* handle) {
  call<void>("curl_easy_cleanup", handle);
}
void curl_easy_reset(void* handle) {
  call<void>("curl_easy_reset", handle);
}
int curl_easy_perform(void* handle) {
  return call<int>("curl_easy_perform", handle);
}
const char* curl_easy_strerror(int code) {
  return call<const char*>("curl_easy_strerror", code);
}
void* curl_slist_append(void* list, const char* text) {
  return call<void*>("curl_slist_append", list, text);
}
void curl_slist_free_all(void* list) {
  call<void>("curl_slist_free_all", list);
}
void curl_free(void* memory) {
  call<void>("curl_free", memory);
}
void* curl_url() {
  return call<void*>("curl_url");
}
void curl_url_cleanup(void* url) {
  call<void>("curl_url_cleanup", url);
}
int curl_url_set(void* url, int part, const char* text, unsigned flags) {
  return call<int>("curl_url_set", url, part, text, flags);
}
int curl_url_get(void* url, int part, char** text, unsigned flags) {
  return call<int>("curl_url_get", url, part, text, flags);
}

// Each takes one value more: a long, a curl_off_t or a pointer, which are passed alike on x86-64.
static_assert(sizeof(long) == sizeof(void*));

int curl_easy_setopt(void* handle, int option, ...) {
  va_list values;
  va_start(values, option);
  void* value = va_arg(values, void*);
  va_end(values);
  return reinterpret_cast<int (*)(void*, int, ...)>(gavel::function("curl_easy_setopt"))(handle, option, value);
}
int curl_easy_getinfo(void* handle, int info, ...) {
  va_list values;
  va_start(values, info);
  void* value = va_arg(values, void*);
  va_end(values);
  return reinterpret_cast<int (*)(void*, int, ...)>(gavel::function("curl_easy_getinfo"))(handle, info, value);
}

}  // extern "C"
