#pragma once
#include <vector>

#include "base/tensor.h"
#include "emit/module.h"
#include "pjrt/client.h"

namespace gavel {

/** One CPU client for all tests of a program. */
inline pjrt::Client& test_client() {
  static std::shared_ptr<pjrt::Client> client = pjrt::Client::create(pjrt::Plugin::load("cpu"));
  return *client;
}

/** A graph's outputs as a compiled program. */
class CompiledGraph {
 public:
  CompiledGraph(const Graph& graph, const std::vector<Value>& outputs)
      : executable_(test_client().compile(emit_module(graph, outputs), {})) {}

  std::vector<HostTensor> run(const std::vector<HostTensor>& inputs) const {
    std::vector<pjrt::Buffer> buffers;
    std::vector<const pjrt::Buffer*> arguments;
    for (const HostTensor& input : inputs) buffers.push_back(test_client().to_device(input));
    for (const pjrt::Buffer& buffer : buffers) arguments.push_back(&buffer);
    std::vector<HostTensor> outputs;
    for (const pjrt::Buffer& buffer : executable_.run(arguments)) outputs.push_back(buffer.to_host());
    return outputs;
  }

 private:
  pjrt::Executable executable_;
};

}  // namespace gavel
