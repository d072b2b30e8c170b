#include "spec/decoder_spec.h"

#include <algorithm>

namespace gavel {

bool TensorSpec::has_heads() const {
  return std::any_of(dimensions.begin(), dimensions.end(), [](Dimension dimension) {
    return dimension == Dimension::kQueryHeads || dimension == Dimension::kKeyValueHeads;
  });
}

std::string name_in_layer(std::string_view name, int64_t layer) {
  std::string out(name);
  if (auto star = out.find('*'); star != std::string::npos) out.replace(star, 1, std::to_string(layer));
  return out;
}

std::vector<const LinearSpec*> BlockSpec::linears() const {
  return {&attention.q_proj,       &attention.k_proj,     &attention.v_proj,      &attention.o_proj,
          &feed_forward.gate_proj, &feed_forward.up_proj, &feed_forward.down_proj};
}

std::vector<LinearSpec*> BlockSpec::linears() {
  return {&attention.q_proj,       &attention.k_proj,     &attention.v_proj,      &attention.o_proj,
          &feed_forward.gate_proj, &feed_forward.up_proj, &feed_forward.down_proj};
}

std::vector<TensorSpec*> BlockSpec::norms() {
  std::vector<TensorSpec*> all = {&attention_norm, &feed_forward_norm};
  for (auto* optional : {&attention_output_norm, &feed_forward_output_norm, &attention.q_norm, &attention.k_norm})
    for (TensorSpec& tensor : *optional) all.push_back(&tensor);
  return all;
}

std::vector<const TensorSpec*> BlockSpec::tensors() const {
  std::vector<const TensorSpec*> all;
  auto add = [&](const std::vector<TensorSpec>& optional) {
    for (const TensorSpec& tensor : optional) all.push_back(&tensor);
  };
  all.push_back(&attention_norm);
  add(attention_output_norm);
  all.push_back(&feed_forward_norm);
  add(feed_forward_output_norm);
  add(attention.q_norm);
  add(attention.k_norm);
  for (const LinearSpec* linear : linears()) {
    all.push_back(&linear->weight);
    add(linear->bias);
  }
  return all;
}

std::vector<DecoderSpec::NamedTensor> DecoderSpec::base_tensors() const {
  std::vector<NamedTensor> all = {{embeddings.name, embeddings.gguf_name, embeddings},
                                  {final_norm.name, final_norm.gguf_name, final_norm}};
  for (int64_t layer = 0; layer < num_hidden_layers; ++layer)
    for (const TensorSpec* tensor : block(layer).tensors())
      all.push_back({name_in_layer(tensor->name, layer), name_in_layer(tensor->gguf_name, layer), *tensor});
  return all;
}

std::optional<int64_t> DecoderSpec::longest_text() const {
  std::optional<int64_t> shortest;
  for (const RopeSpec& rope : ropes)
    if (auto limit = gavel::longest_text(rope.scaling, max_position_embeddings);
        limit && (!shortest || limit < shortest))
      shortest = limit;
  return shortest;
}

std::vector<std::string> DecoderSpec::linear_names() const {
  std::vector<std::string> names;
  for (const LinearSpec* linear : blocks.front().linears()) names.push_back(linear->name);
  return names;
}

TensorSpec head_spec(const DecoderSpec& spec, int64_t num_labels) {
  TensorSpec head;
  head.name = "score.weight";
  head.shape = {num_labels, spec.hidden_size};
  head.dimensions = {Dimension::kLabels, Dimension::kHidden};
  head.role = TensorRole::kHead;
  head.storage = Storage::kFloat32;
  return head;
}

}  // namespace gavel
