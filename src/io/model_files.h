#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor.h"
#include "io/quantise.h"
#include "spec/base_storage.h"
#include "spec/decoder_spec.h"
#include "spec/model_config.h"

namespace gavel {

/** A base model on disk, whatever its format; tensors have Hugging Face's names
 * ("model.layers.0.input_layernorm.weight"). Copies share the mapped files. */
class ModelFiles {
 public:
  /** `path`: a Hugging Face folder (config.json with model.safetensors, or shards with
   * model.safetensors.index.json), a .gguf file, or a name of packaged_models() (model_path.h).
   * Throws Error when a file is missing or damaged, a tensor that the config calls for is missing, has another shape or a
   * type that is not read, or the index names a tensor that its shard does not have. Biases that no layer has are zero,
   * as in transformers. */
  static ModelFiles open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  /** Of a GGUF file with TensorSpec::in_file of the linears' weights. */
  const DecoderSpec& spec() const { return spec_; }
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return sources_.contains(name); }
  /** The shape of the tensor that read() gives. Throws Error when there is no such tensor. */
  const Shape& shape(const std::string& name) const;
  /** The tensor as float32 or bfloat16: a view of a safetensors file that holds that type, else a converted copy.
   * GGUF's rows come back in Hugging Face's order. Throws Error when there is no such tensor. */
  HostTensor read(const std::string& name, DType dtype) const;
  /** The weight as `how` quantises it (quantise.h), and its numbers checked to be finite. Codes and scales of a Q8_0 tensor
   * are taken as they are where `how` is int8 in groups of 32, those of other GGUF types where it has their blocks, as
   * TensorSpec::in_file says. Throws Error as read() does, and when a number is infinite or
   * none. */
  QuantisedWeight read_quantised(const std::string& name, const Quantisation& how) const;
  /** A tensor of the base as `storage` holds it, without what the form of holding adds: float32 or bfloat16 numbers, of a
   * quantised weight the float32 numbers that its codes mean. `tensor`: what the name stands for. */
  HostTensor read_held(const std::string& name, const TensorSpec& tensor, const BaseStorage& storage) const;
  /** Whether the file holds any of the model's tensors in float32. */
  bool holds_float32() const;
  /** Tells the system that the tensor's pages of the mapped file are not needed soon; if they are, they are read again.
   * For passing over a model larger than memory. */
  void release(const std::string& name) const;
  /** Tensors that a judge does not use; those of a language model's or a classifier's head are expected and not
   * listed. */
  const std::vector<std::string>& unused() const { return unused_; }
  /** Sentences for the user about what was read otherwise than one may think, or not at all: keys of the config that nobody
   * knows, biases that are not there, unused tensors. */
  std::vector<std::string> notes() const;
  /** The same about how the linears' weights become quantised ones: from numbers that were quantised in the file already, in
   * another way. Empty when there is nothing to say. */
  std::vector<std::string> notes_on(const BaseStorage& storage) const;

 private:
  /** One tensor of either format, or neither: zeros. */
  struct Source {
    std::shared_ptr<const class SafetensorsFile> safetensors;
    std::shared_ptr<const class GgufFile> gguf;
    std::string name;  // in its file
    Shape shape;
    int64_t permuted_heads = 0;  // GgufRows::kRotaryPairs: rows to put back, by this many heads
    float offset = 0;            // TensorSpec::gguf_offset, to take away
  };
  void open_folder();
  void open_gguf();
  void add_shards(const std::filesystem::path& index,
                  const std::function<void(const std::shared_ptr<const class SafetensorsFile>& file,
                                           const std::string& name)>& add);
  void check();
  /** Writes into the spec how the file holds each linear's weight in all layers. */
  void note_types();
  void check_type(const std::string& name, const Source& source) const;
  void fill_missing_biases(std::vector<std::string>& missing);
  /** What else the files have that explains a missing or strange tensor; empty for nothing. */
  std::string explain(const std::string& name) const;
  const Source& source(const std::string& name) const;

  std::filesystem::path path_;
  ModelConfig config_;
  DecoderSpec spec_;
  std::map<std::string, Source> sources_;
  std::vector<std::string> unused_, notes_;
};

/** The base's tensors, each layer's by itself, by name. */
std::map<std::string, TensorSpec> specs_by_name(const DecoderSpec& spec);

/** In what the folder that export_folder() writes differs from the base. */
struct ExportChanges {
  /** Gives a tensor's new value, of the same shape; empty = all stay. */
  std::function<HostTensor(const std::string& name)> read;
  std::vector<std::pair<std::string, HostTensor>> added;
};

/** Writes the base as a folder that transformers opens as the family's …ForSequenceClassification: config.json and
 * model.safetensors in `dtype`. The head in it is the one that `changes` adds, else the base's own where that has
 * `num_labels` labels, else none (the adapter has it); without `num_labels`, as many as the base's head has, or 3. Throws
 * Error when the base has RopeSpec::freq_factors, which no config.json can state. */
void export_folder(const ModelFiles& files, const std::filesystem::path& folder, DType dtype,
                   std::optional<int64_t> num_labels = std::nullopt, const ExportChanges& changes = {});

}  // namespace gavel
