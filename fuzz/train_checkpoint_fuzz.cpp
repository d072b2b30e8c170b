// Any text as a checkpoint's state.json, and as its checksums.json: an Error, or a state that is the same
// when written again. Checksums are right, so that what they protect is reached.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "fuzz_target.h"
#include "input_file.h"
#include "train/checkpoint.h"

namespace {

void open(const gavel::InputFolder& folder) {
  try {
    gavel::SavedRun run = gavel::open_checkpoint(folder.path());
    auto again = gavel::run_state_from_json(gavel::to_json(run.state), "again");
    if (!std::isnan(run.state.loss_sum) && again.step != run.state.step) std::abort();
    gavel::changes(run.identity, run.identity);
  } catch (const gavel::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  folder.write("optimizer.safetensors", "");
  folder.write("state.json", text);
  nlohmann::json files;
  for (const char* name : {"optimizer.safetensors", "state.json"}) {
    gavel::FileDigest digest = gavel::digest_file(folder.path() / name);
    files[name] = {{"bytes", digest.bytes}, {"crc64", gavel::to_hex(digest.crc64)}};
  }
  folder.write("checksums.json", nlohmann::json{{"format", 1}, {"files", files}}.dump());
  open(folder);
  folder.write("checksums.json", text);
  open(folder);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  gavel::RunState state;
  state.step = 7;
  state.best = gavel::BestEvaluation{3, 0.5, 0.75};
  gavel::RunIdentity identity;
  identity.recipe = {{"train.seed", "1"}};
  identity.files = {{"data.train", "a.csv", {10, 7}}};
  identity.environment = {{"gavel", "0"}};
  nlohmann::ordered_json both = {{"state", gavel::to_json(state)}, {"identity", gavel::to_json(identity)}};
  return {both.dump(),
          R"({"format":1,"files":{"state.json":{"bytes":0,"crc64":"0"},"../../x":{"bytes":1,"crc64":""}}})", "{}",
          "[]"};
}
