#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "model/decoder.h"
#include "pjrt/client.h"

namespace gavel {

/** Largest differences of one quantity over all its tensors and steps. */
struct Difference {
  double max_abs = 0;
  /** Per tensor: its largest difference over its largest expected value; the largest of these. */
  double max_rel = 0;
  std::string worst;  // where max_rel is
  bool within = true;
};

struct ParityReport {
  std::map<std::string, Difference> quantities;  // logits, loss, grad, final
  /** Arguments of the training step on one device, in bytes. */
  int64_t argument_bytes = 0;
  bool passed() const;
};

/** Runs a folder of reference values: config.json + model.safetensors (frozen base), adapter/ (PEFT, at step
 * 0), batch.safetensors (input_ids, attention_mask [steps, batch, length]; labels [steps, batch, labels]),
 * recipe.json (optimizer, schedule, lr_per_step), expected.safetensors (logits, loss, grad.NAME of step 0,
 * final.NAME). Tolerances: logits and losses 1e-5 absolute, gradients 2e-5 relative, final weights 1e-6
 * absolute. With a mesh the client must have its devices, and its batch parts must divide the
 * batch. Throws Error when a file or tensor is missing or of another shape. */
ParityReport run_parity(const std::filesystem::path& folder, LayerForm form, Kernels kernels,
                        std::shared_ptr<pjrt::Client> client, const std::filesystem::path& compile_cache,
                        const Mesh& mesh = {});

std::string format_parity(const ParityReport& report);
std::string parity_json(const ParityReport& report);

}  // namespace gavel
