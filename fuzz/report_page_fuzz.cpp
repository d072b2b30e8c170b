// Any text as each file of a run's folder: a page, always, and one in which nothing from the files is markup.
#include <cstring>

#include "fuzz_target.h"
#include "input_file.h"
#include "report/html_report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"metrics.jsonl", "validation.jsonl", "run.json", "recipe.yaml"}) folder.write(name, text);
  gavel::RecordedRun run = gavel::read_run(folder.path());
  gavel::ReportOptions options;
  options.texts = [&](const gavel::RecordedRun&, const std::vector<int64_t>& rows) {
    std::map<int64_t, gavel::RowTexts> texts;
    for (int64_t row : rows) texts[row] = {std::string(text), "", std::string(text)};
    return texts;
  };
  for (const std::string& page : {report_html({run}, options), report_html({run, run}, options)})
    for (const char* bad : {"<script", "<img", "<iframe", "<x"})
      if (page.find(bad) != std::string::npos) std::abort();
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"kind":"train","step":1,"loss":1.1,"smoothed_loss":1.1,"learning_rate":1e-4,"gradient_norm":2,"tokens":9,"elapsed_seconds":1})"
      "\n"
      R"({"kind":"eval","step":1,"log_loss":null,"accuracy":0.5})"
      "\n",
      R"({"step":3,"row":1,"id":"<x","label":[1,0,0],"probabilities":[0.2,0.3,0.5],"loss":1.6,"tokens":7,"turns":2})"
      "\n"
      R"({"step":3,"row":2,"label":[0,0.5,0.5],"probabilities":[1e308,-1,null],"tokens":-7})"
      "\n",
      R"({"step":1,"tokens":1e30})",
      R"({"status":"running","message":"<script>","data":{"train":{"labels":[1,2,3],"tokens":{"mean":5,"<img":1}}},"resumes":[1],"total_steps":5,"constant_log_loss":1.1})",
      "train:\n  learning_rate: 0.1\n  <iframe: <x\nmodel:\n  path: a\n"};
}
