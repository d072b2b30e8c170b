#pragma once
// libcurl's own header; its functions are passed on to the system's library, loaded when the first is called, by
// curl_library.cpp, which also calls curl_global_init. Each throws Error that says what to install where there is none.
#include <curl/curl.h>
