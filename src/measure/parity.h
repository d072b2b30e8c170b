#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "model/decoder.h"
#include "pjrt/client.h"

namespace gavel {

/** The largest differences between computed and expected values of one quantity, over all its tensors and steps. */
struct Difference {
  double max_abs = 0;
  /** Of each tensor the largest difference divided by the largest expected value; the largest of these. */
  double max_rel = 0;
  std::string worst;   // the tensor that max_rel is of
  bool within = true;  // the tolerance of run_parity() is kept
};

struct ParityReport {
  std::map<std::string, Difference> quantities;  // logits, loss, grad, final
  /** Arguments of the training step on one device, in bytes. */
  int64_t argument_bytes = 0;
  bool passed() const;
};

/** Trains a few steps in float32 and compares with the reference values of transformers + PEFT in a folder: config.json
 * and model.safetensors (frozen base), adapter/ (PEFT's, at step 0), batch.safetensors (input_ids, attention_mask i32
 * [steps, batch, length]; labels f32 [steps, batch, labels]), recipe.json (betas, eps, weight_decay, lr_per_step;
 * with `quantised`, codes and group, the reference computes with what quantising makes of the base),
 * expected.safetensors (logits and loss of each step, grad.NAME of step 0, final.NAME). Tolerances: logits and losses
 * 1e-5 absolute, gradients 2e-5 relative, final weights 1e-6 absolute. With `compute` bfloat16, products are of bfloat16, and
 * logits and losses are held to 0.1 absolute, gradients to 0.25 relative, final weights to nothing. The client must have the mesh's devices, and the
 * batch be a multiple of mesh.batch_parts(). Throws Error when a file or tensor is missing or of another shape. */
ParityReport run_parity(const std::filesystem::path& folder, LayerForm form, Kernels kernels,
                        std::shared_ptr<pjrt::Client> client, const std::filesystem::path& compile_cache,
                        const Mesh& mesh = {}, Recompute recompute = Recompute::kAll, DType compute = DType::kF32);

std::string format_parity(const ParityReport& report);
std::string parity_json(const ParityReport& report);

}  // namespace gavel
