#include "pjrt/signature.h"

#include <charconv>

namespace gavel::pjrt {

namespace {

/** Splits "a, b, …)" at the commas outside brackets and strings, up to the ')' that closes the list. */
std::optional<std::vector<std::string_view>> split_list(std::string_view text) {
  std::vector<std::string_view> items;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i)
        if (text[i] == '\\') ++i;
    } else if (c == '(' || c == '{' || c == '[' || c == '<') {
      ++depth;
    } else if (c == '>' && i > 0 && text[i - 1] == '-') {
      // an arrow
    } else if (depth > 0 && (c == ')' || c == '}' || c == ']' || c == '>')) {
      --depth;
    } else if (depth == 0 && (c == ',' || c == ')')) {
      std::string_view item = text.substr(begin, i - begin);
      if (c == ',' || item.find('%') != std::string_view::npos) items.push_back(item);
      begin = i + 1;
      if (c == ')') return items;
    }
  }
  return std::nullopt;
}

std::optional<DType> dtype_from(std::string_view name) {
  for (DType dtype : {DType::kBool, DType::kU8, DType::kI8, DType::kU16, DType::kI16, DType::kU32, DType::kI32,
                      DType::kU64, DType::kI64, DType::kF16, DType::kBF16, DType::kF32, DType::kF64})
    if (stablehlo_name(dtype) == name) return dtype;
  return std::nullopt;
}

std::optional<ArgumentSpec> parse_argument(std::string_view text) {
  constexpr std::string_view kTensor = "tensor<";
  size_t start = text.find(kTensor);
  if (start == std::string_view::npos) return std::nullopt;
  text.remove_prefix(start + kTensor.size());
  size_t end = text.find('>');
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view type = text.substr(0, end);
  std::string_view attributes = text.substr(end);
  ArgumentSpec spec;
  while (!type.empty() && type[0] >= '0' && type[0] <= '9') {
    int64_t dimension = 0;
    auto [next, error] = std::from_chars(type.data(), type.data() + type.size(), dimension);
    if (error != std::errc() || next == type.data() + type.size() || *next != 'x') return std::nullopt;
    spec.shape.push_back(dimension);
    type.remove_prefix(static_cast<size_t>(next - type.data()) + 1);
  }
  auto dtype = dtype_from(type);
  if (!dtype) return std::nullopt;
  spec.dtype = *dtype;
  spec.donated = attributes.find("tf.aliasing_output") != std::string_view::npos ||
                 attributes.find("jax.buffer_donor") != std::string_view::npos;
  return spec;
}

}  // namespace

std::optional<std::vector<ArgumentSpec>> parse_arguments(std::string_view mlir) {
  constexpr std::string_view kMain = "@main(";
  size_t main = mlir.find(kMain);
  // A call of main can only come after its definition in text that Gavel writes; "func.func" must precede.
  size_t function = main == std::string_view::npos ? main : mlir.rfind("func.func", main);
  if (function == std::string_view::npos || main - function > 40) return std::nullopt;
  auto items = split_list(mlir.substr(main + kMain.size()));
  if (!items) return std::nullopt;
  std::vector<ArgumentSpec> specs;
  for (std::string_view item : *items) {
    auto spec = parse_argument(item);
    if (!spec) return std::nullopt;
    specs.push_back(*spec);
  }
  return specs;
}

}  // namespace gavel::pjrt
