#include "spec/base_storage.h"

#include "base/error.h"

namespace gavel {

namespace {

/** A linear's weight as its GGUF file has it. */
const FileStorage& in_file(const TensorSpec& tensor) {
  constexpr std::string_view kElse = "take a .gguf file, or another model.dtype, such as int8, nf4 or bfloat16";
  if (!tensor.in_file)
    fail(
        "model.dtype: gguf holds the linears' weights as the base's GGUF file does, and {} is of no such file "
        "(with model.random_init there is none): {}",
        tensor.name, kElse);
  const FileStorage& file = *tensor.in_file;
  if (!file.quantisation && !file.numbers)
    fail("model.dtype: gguf: {} ({} in the file) has the type {}, which has to be held in numbers of its own: {}",
         tensor.name, tensor.gguf_name, file.types, "take another file of the model, or model.dtype int8 or bfloat16");
  return file;
}

bool is_linear(const TensorSpec& tensor) {
  return tensor.role == TensorRole::kLinear && tensor.in_layers();
}

}  // namespace

std::string_view codes_name(Quantisation::Codes codes) {
  switch (codes) {
    case Quantisation::Codes::kInt8:
      return "int8";
    case Quantisation::Codes::kNf4:
      return "nf4";
    case Quantisation::Codes::kInt4:
      return "int4";
    case Quantisation::Codes::kUint4:
      return "uint4";
  }
  return "";
}

std::optional<Quantisation> BaseStorage::quantisation_of(const TensorSpec& tensor) const {
  if (!is_linear(tensor)) return std::nullopt;
  return as_file ? in_file(tensor).quantisation : quantisation;
}

std::string BaseStorage::describe() const {
  if (as_file) return "the types of its GGUF file";
  if (!quantisation) return std::string(dtype_name(dtype));
  return fmt::format("{} in groups of {}", codes_name(quantisation->codes), quantisation->group);
}

std::string scales_name(std::string_view weight) {
  return std::string(weight) + "_scale";
}

std::vector<HeldTensor> held_as(const TensorSpec& tensor, const BaseStorage& storage) {
  const std::optional<Quantisation> found = storage.quantisation_of(tensor);
  if (!found) {
    const bool numbers = storage.as_file && is_linear(tensor);
    return {{tensor, tensor.dtype(numbers ? *in_file(tensor).numbers : storage.dtype), HeldPart::kValues}};
  }
  const Quantisation& how = *found;
  const int64_t in = tensor.shape.at(1);
  if (in % how.unit() != 0)
    fail(
        "model.dtype: {} in groups of {}: {} has {} inputs, which groups of {} do not divide; set model.group_size to "
        "32 "
        "or 64 if that divides them, or model.dtype to bfloat16",
        codes_name(how.codes), how.group, tensor.name, in, how.unit());
  TensorSpec codes = tensor, scales = tensor;
  codes.shape[1] = in / how.codes_in_a_byte();
  scales.shape[1] = in / how.unit();
  if (how.block != 0) {
    scales.shape.push_back(how.block_scales().count());
    scales.dimensions.push_back(Dimension::kOfBlock);
  }
  scales.name = scales_name(tensor.name);
  return {{std::move(codes), how.codes_type(), HeldPart::kCodes, how},
          {std::move(scales), how.scales_type(), HeldPart::kScales, how}};
}

std::vector<HeldTensor> held_tensors(const BlockSpec& block, const BaseStorage& storage) {
  std::vector<HeldTensor> all;
  for (const TensorSpec* tensor : block.tensors())
    for (HeldTensor& held : held_as(*tensor, storage)) all.push_back(std::move(held));
  return all;
}

}  // namespace gavel
