#include "pjrt/api.h"

namespace gavel::pjrt {

namespace {

std::string_view code_name(PJRT_Error_Code code) {
  switch (code) {
    case PJRT_Error_Code_CANCELLED:
      return "CANCELLED";
    case PJRT_Error_Code_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case PJRT_Error_Code_DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case PJRT_Error_Code_NOT_FOUND:
      return "NOT_FOUND";
    case PJRT_Error_Code_ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case PJRT_Error_Code_PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case PJRT_Error_Code_RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case PJRT_Error_Code_FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case PJRT_Error_Code_ABORTED:
      return "ABORTED";
    case PJRT_Error_Code_OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case PJRT_Error_Code_UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case PJRT_Error_Code_INTERNAL:
      return "INTERNAL";
    case PJRT_Error_Code_UNAVAILABLE:
      return "UNAVAILABLE";
    case PJRT_Error_Code_DATA_LOSS:
      return "DATA_LOSS";
    case PJRT_Error_Code_UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    default:
      return "UNKNOWN";
  }
}

}  // namespace

void discard(const PJRT_Api* api, PJRT_Error* error) noexcept {
  if (error == nullptr) return;
  auto args = make_args<PJRT_Error_Destroy_Args>();
  args.error = error;
  api->PJRT_Error_Destroy(&args);
}

void throw_error(const Plugin& plugin, PJRT_Error* error, std::string_view context) {
  auto message = make_args<PJRT_Error_Message_Args>();
  message.error = error;
  plugin.api()->PJRT_Error_Message(&message);
  std::string text(message.message, message.message_size);
  auto code = make_args<PJRT_Error_GetCode_Args>();
  code.error = error;
  code.code = PJRT_Error_Code_UNKNOWN;
  discard(plugin.api(), plugin.api()->PJRT_Error_GetCode(&code));
  discard(plugin.api(), error);
  throw PjrtError(code.code, fmt::format("{}: {}: {}: {}", plugin.name(), context, code_name(code.code), text));
}

void throw_missing(const Plugin& plugin, std::string_view context) {
  throw PjrtError(PJRT_Error_Code_UNIMPLEMENTED,
                  fmt::format("{}: {}: this plugin (PJRT API {}.{}) lacks the function; use a newer plugin",
                              plugin.name(), context, plugin.api_major(), plugin.api_minor()));
}

std::vector<PJRT_NamedValue> to_named_values(const Options& options) {
  std::vector<PJRT_NamedValue> values;
  for (const auto& [name, option] : options) {
    auto value = make_args<PJRT_NamedValue>();
    value.name = name.data();
    value.name_size = name.size();
    value.value_size = 1;
    if (auto* integer = std::get_if<int64_t>(&option)) {
      value.type = PJRT_NamedValue_kInt64;
      value.int64_value = *integer;
    } else if (auto* text = std::get_if<std::string>(&option)) {
      value.type = PJRT_NamedValue_kString;
      value.string_value = text->data();
      value.value_size = text->size();
    } else if (auto* flag = std::get_if<bool>(&option)) {
      value.type = PJRT_NamedValue_kBool;
      value.bool_value = *flag;
    } else if (auto* number = std::get_if<float>(&option)) {
      value.type = PJRT_NamedValue_kFloat;
      value.float_value = *number;
    } else if (auto* list = std::get_if<std::vector<int64_t>>(&option)) {
      value.type = PJRT_NamedValue_kInt64List;
      value.int64_array_value = list->data();
      value.value_size = list->size();
    }
    values.push_back(value);
  }
  return values;
}

Options from_named_values(const PJRT_NamedValue* values, size_t count) {
  Options options;
  for (size_t i = 0; i < count; ++i) {
    const PJRT_NamedValue& value = values[i];
    std::string name(value.name, value.name_size);
    switch (value.type) {
      case PJRT_NamedValue_kString:
        options[name] = std::string(value.string_value, value.value_size);
        break;
      case PJRT_NamedValue_kInt64:
        options[name] = value.int64_value;
        break;
      case PJRT_NamedValue_kInt64List:
        options[name] = std::vector<int64_t>(value.int64_array_value, value.int64_array_value + value.value_size);
        break;
      case PJRT_NamedValue_kFloat:
        options[name] = value.float_value;
        break;
      case PJRT_NamedValue_kBool:
        options[name] = value.bool_value;
        break;
    }
  }
  return options;
}

PJRT_Buffer_Type to_pjrt(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return PJRT_Buffer_Type_PRED;
    case DType::kU8:
      return PJRT_Buffer_Type_U8;
    case DType::kI8:
      return PJRT_Buffer_Type_S8;
    case DType::kU16:
      return PJRT_Buffer_Type_U16;
    case DType::kI16:
      return PJRT_Buffer_Type_S16;
    case DType::kU32:
      return PJRT_Buffer_Type_U32;
    case DType::kI32:
      return PJRT_Buffer_Type_S32;
    case DType::kU64:
      return PJRT_Buffer_Type_U64;
    case DType::kI64:
      return PJRT_Buffer_Type_S64;
    case DType::kF16:
      return PJRT_Buffer_Type_F16;
    case DType::kBF16:
      return PJRT_Buffer_Type_BF16;
    case DType::kF32:
      return PJRT_Buffer_Type_F32;
    case DType::kF64:
      return PJRT_Buffer_Type_F64;
  }
  fail("pjrt: unknown element type {}", static_cast<int>(dtype));
}

DType from_pjrt(const Plugin& plugin, PJRT_Buffer_Type type, std::string_view context) {
  switch (type) {
    case PJRT_Buffer_Type_PRED:
      return DType::kBool;
    case PJRT_Buffer_Type_U8:
      return DType::kU8;
    case PJRT_Buffer_Type_S8:
      return DType::kI8;
    case PJRT_Buffer_Type_U16:
      return DType::kU16;
    case PJRT_Buffer_Type_S16:
      return DType::kI16;
    case PJRT_Buffer_Type_U32:
      return DType::kU32;
    case PJRT_Buffer_Type_S32:
      return DType::kI32;
    case PJRT_Buffer_Type_U64:
      return DType::kU64;
    case PJRT_Buffer_Type_S64:
      return DType::kI64;
    case PJRT_Buffer_Type_F16:
      return DType::kF16;
    case PJRT_Buffer_Type_BF16:
      return DType::kBF16;
    case PJRT_Buffer_Type_F32:
      return DType::kF32;
    case PJRT_Buffer_Type_F64:
      return DType::kF64;
    default:
      fail("{}: {}: element type {} of the C API has no host form in Gavel", plugin.name(), context,
           static_cast<int>(type));
  }
}

}  // namespace gavel::pjrt
