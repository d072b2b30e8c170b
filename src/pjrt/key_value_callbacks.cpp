#include "pjrt/key_value_callbacks.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace gavel::pjrt {

namespace {

/** Nothing may be thrown into the plugin: what fails becomes an error of its own kind. */
template <class Args, class Call>
PJRT_Error* answer(Args* args, PJRT_Error_Code on_error, Call call_store) {
  try {
    call_store(*static_cast<KeyValueStore*>(args->user_arg), std::string(args->key, args->key_size));
    return nullptr;
  } catch (const std::exception& error) {
    std::string_view text = error.what();
    return (*args->callback_error)(on_error, text.data(), text.size());
  }
}

template <class Args>
void return_value(const std::string& text, Args* args) {
  args->value = new char[text.size()];
  std::copy(text.begin(), text.end(), args->value);
  args->value_size = text.size();
  args->value_deleter_callback = [](char* value) { delete[] value; };
}

PJRT_Error* answer_get(PJRT_KeyValueGetCallback_Args* args) {
  return answer(args, PJRT_Error_Code_DEADLINE_EXCEEDED, [&](KeyValueStore& store, const std::string& key) {
    return_value(store.get(key, args->timeout_in_ms), args);
  });
}

PJRT_Error* answer_try_get(PJRT_KeyValueTryGetCallback_Args* args) {
  return answer(args, PJRT_Error_Code_NOT_FOUND, [&](KeyValueStore& store, const std::string& key) {
    auto found = store.try_get(key);
    if (!found) fail("key '{}' was not put", key);
    return_value(*found, args);
  });
}

PJRT_Error* answer_put(PJRT_KeyValuePutCallback_Args* args) {
  return answer(args, PJRT_Error_Code_INTERNAL, [&](KeyValueStore& store, const std::string& key) {
    store.put(key, std::string(args->value, args->value_size));
  });
}

}  // namespace

void attach(PJRT_Client_Create_Args& create, KeyValueStore& store) {
  create.kv_get_callback = answer_get;
  create.kv_try_get_callback = answer_try_get;
  create.kv_put_callback = answer_put;
  create.kv_get_user_arg = create.kv_try_get_user_arg = create.kv_put_user_arg = &store;
}

}  // namespace gavel::pjrt
