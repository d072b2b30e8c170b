#include "judge/calibration_key.h"

#include <algorithm>
#include <set>

#include "base/checksum.h"
#include "base/file.h"
#include "rows/cleaning.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** Of a file's size, and of up to 256 pieces of 4 KB, evenly spread. */
uint64_t sampled_hash(const fs::path& path, uint64_t state) {
  constexpr size_t kPieces = 256, kPiece = 4096;
  const auto file = MappedFile::open(path);
  const std::string_view text = file->text();
  state = hash_text(std::to_string(text.size()), state);
  const size_t step = std::max(kPiece, text.size() / kPieces);
  for (size_t at = 0; at < text.size(); at += step) state = hash_text(text.substr(at, kPiece), state);
  if (text.size() > kPiece) state = hash_text(text.substr(text.size() - kPiece), state);
  return state;
}

uint64_t base_hash(const fs::path& base) {
  if (!fs::is_directory(base)) return sampled_hash(base, 1);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(base))
    if (entry.path().extension() == ".safetensors" || entry.path().filename() == "config.json")
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  uint64_t state = 1;
  for (const fs::path& file : files) state = sampled_hash(file, hash_text(file.filename().string(), state));
  return state;
}

}  // namespace

CalibrationKey calibration_key(const std::vector<fs::path>& adapters, const fs::path& base, const Recipe& recipe) {
  CalibrationKey key;
  uint64_t weights = 1;
  for (const fs::path& adapter : adapters)
    for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"})
      if (fs::exists(adapter / name)) weights = hash_text(MappedFile::open(adapter / name)->text(), weights);
  key.adapter = to_hex(weights);
  key.base = to_hex(base_hash(base));
  // What decides which text of a row the model reads, and what its outputs mean.
  const std::set<std::string> wanted = {
      "task",          "judge.form",      "reward.ties",     "model.num_labels",
      "data.template", "data.max_length", "data.truncation", "data.proportional_shares"};
  for (const auto& [name, value] : recipe_values(recipe))
    // Left out as it was before there was another form, so that calibrations of then stay valid.
    if (wanted.contains(name) && !(name == "judge.form" && value == "joint")) key.settings[name] = value;
  return key;
}

}  // namespace gavel
