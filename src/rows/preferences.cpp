#include "rows/preferences.h"

#include "base/error.h"
#include "base/file.h"
#include "files/csv.h"

namespace gavel {

PreferenceRow swapped(const PreferenceRow& row) {
  PreferenceRow out = row;
  std::swap(out.response_a, out.response_b);
  std::swap(out.label[0], out.label[1]);
  std::swap(out.teacher[0], out.teacher[1]);
  std::swap(out.auxiliary[0], out.auxiliary[1]);
  return out;
}

Columns standard_columns(Format format) {
  Columns columns{.id = "id", .prompt = "prompt", .response_a = "response_a", .response_b = "response_b"};
  if (format == Format::kRanked) {
    columns.response_a = columns.response_b = "responses";
    columns.winner = "scores";
  } else if (format == Format::kHelpSteer3) {
    columns.prompt = "context";
    columns.response_a = "response1";
    columns.response_b = "response2";
    columns.winner = "overall_preference";
  } else if (format == Format::kScored) {
    columns.response_a = "response";
    columns.response_b = "";
    columns.winner = "score";
  } else if (format == Format::kConversations) {
    columns.prompt = "";
    columns.response_a = "conversation_a";
    columns.response_b = "conversation_b";
    columns.winner = "winner";
  } else if (format == Format::kChosen) {
    columns.response_a = "chosen";
    columns.response_b = "rejected";
  } else if (format == Format::kLmsys) {
    columns.label_a = "winner_model_a";
    columns.label_b = "winner_model_b";
    columns.label_tie = "winner_tie";
  } else if (format == Format::kWsdm) {
    columns.winner = "winner";
  }
  return columns;
}

void write_lmsys_csv(const std::filesystem::path& path, const std::vector<PreferenceRow>& rows) {
  bool labels = !rows.empty();
  for (const auto& row : rows) labels = labels && row.has_label;
  AtomicFile file(path);
  file.write("id,model_a,model_b,prompt,response_a,response_b");
  file.write(labels ? ",winner_model_a,winner_model_b,winner_tie\n" : "\n");
  for (const auto& row : rows) {
    std::string line = fmt::format("{},gavel,gavel,{},{},{}", csv_cell(row.id), csv_cell(json_cell(row.prompt)),
                                   csv_cell(json_cell(row.response_a)), csv_cell(json_cell(row.response_b)));
    if (labels) line += fmt::format(",{},{},{}", row.label[0], row.label[1], row.label[2]);
    line += '\n';
    file.write(line);
  }
  file.commit();
}

}  // namespace gavel
