#include "spec/base_storage.h"

#include "base/error.h"

namespace gavel {

std::string_view codes_name(Quantisation::Codes codes) {
  return codes == Quantisation::Codes::kInt8 ? "int8" : "nf4";
}

std::string BaseStorage::describe() const {
  if (!quantisation) return std::string(dtype_name(dtype));
  return fmt::format("{} in groups of {}", codes_name(quantisation->codes), quantisation->group);
}

std::string scales_name(std::string_view weight) {
  return std::string(weight) + "_scale";
}

std::vector<HeldTensor> held_as(const TensorSpec& tensor, const BaseStorage& storage) {
  if (!storage.quantises(tensor)) return {{tensor, tensor.dtype(storage.dtype), HeldPart::kValues}};
  const Quantisation& how = *storage.quantisation;
  const int64_t in = tensor.shape.at(1);
  if (in % how.group != 0)
    fail(
        "model.dtype: {} in groups of {}: {} has {} inputs, which groups of {} do not divide; set model.group_size to "
        "32 "
        "or 64 if that divides them, or model.dtype to bfloat16",
        codes_name(how.codes), how.group, tensor.name, in, how.group);
  TensorSpec codes = tensor, scales = tensor;
  codes.shape[1] = in / how.codes_in_a_byte();
  scales.shape[1] = in / how.group;
  scales.name = scales_name(tensor.name);
  return {{std::move(codes), how.codes_type(), HeldPart::kCodes},
          {std::move(scales), how.scales_type(), HeldPart::kScales}};
}

std::vector<HeldTensor> held_tensors(const BlockSpec& block, const BaseStorage& storage) {
  std::vector<HeldTensor> all;
  for (const TensorSpec* tensor : block.tensors())
    for (HeldTensor& held : held_as(*tensor, storage)) all.push_back(std::move(held));
  return all;
}

}  // namespace gavel
