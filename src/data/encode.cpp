#include "data/encode.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace gavel {

namespace {

using Part = Template::Part;

struct Section {
  Part part;
  std::vector<int32_t> ids;
};

void encode_text(const Template::Framed& text, const TextEncoder& encoder, std::vector<int32_t>& ids) {
  if (!text.foreign.empty() && encoder.encode_around)
    encoder.encode_around(text.text, text.foreign, ids);
  else
    encoder.encode(text.text, ids);
}

/** Pieces encoded one by one. A space before a part belongs to the part's first word, as the pre-tokenizers
 * of byte-level BPE have it, so that the ids are those of the whole text wherever words do not merge over a
 * seam. */
std::vector<Section> encode_pieces(std::vector<Template::Piece> pieces, bool is_chat, const TextEncoder& encoder) {
  for (size_t i = 0; i + 1 < pieces.size(); ++i) {
    if (pieces[i].part != Part::kWords || pieces[i + 1].part == Part::kWords) continue;
    if (!pieces[i].text.ends_with(' ') || pieces[i + 1].text.empty()) continue;
    pieces[i].text.pop_back();
    pieces[i + 1].text.insert(0, 1, ' ');
  }
  std::vector<Section> sections;
  for (const auto& piece : pieces) {
    Section& section = sections.emplace_back(Section{piece.part, {}});
    Template::Framed text{piece.text, {}};
    if (is_chat && piece.part != Part::kWords) text.foreign.emplace_back(0, piece.text.size());
    encode_text(text, encoder, section.ids);
  }
  return sections;
}

std::vector<int32_t> cut_proportionally(const PreferenceRow& row, bool swap, const EncodeOptions& options,
                                        const TextEncoder& encoder, int64_t room) {
  const size_t rounds = Template::num_rounds(row);
  std::vector<Section> sections;
  int64_t words = 0, contents = 0;
  for (size_t first = 0; first < rounds; ++first) {
    sections = encode_pieces(options.text.pieces(row, swap, first), options.text.is_chat(), encoder);
    words = contents = 0;
    for (const auto& section : sections)
      (section.part == Part::kWords ? words : contents) += static_cast<int64_t>(section.ids.size());
    if (words + contents <= room) break;
  }
  if (words > room)
    fail(
        "data.max_length: {} leaves no room for the template's own words, which are {} tokens: make it "
        "larger",
        options.max_length, words);
  std::vector<int64_t> wanted;
  std::vector<double> shares;
  for (const auto& section : sections) {
    if (section.part == Part::kWords) continue;
    wanted.push_back(static_cast<int64_t>(section.ids.size()));
    const auto& of = options.proportional_shares;
    shares.push_back(section.part == Part::kPrompt ? of[0] : section.part == Part::kResponseA ? of[1] : of[2]);
  }
  std::vector<int64_t> kept = share_budget(room - words, wanted, shares);
  std::vector<int32_t> ids;
  size_t next = 0;
  for (const auto& section : sections) {
    auto end = section.part == Part::kWords ? section.ids.end() : section.ids.begin() + kept[next++];
    ids.insert(ids.end(), section.ids.begin(), end);
  }
  return ids;
}

/** A text that its sender wrote out. */
EncodedText encode_written_out(const std::vector<std::string>& text, const EncodeOptions& options,
                               const TextEncoder& encoder) {
  EncodedText out;
  std::vector<int32_t> content;
  for (const std::string& part : text) encoder.encode(part, content);
  // Chat templates write the tokens that the tokenizer puts around every text themselves.
  const std::vector<int32_t>&prefix = encoder.prefix, &suffix = encoder.suffix;
  if (content.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), content.begin()))
    content.erase(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(prefix.size()));
  if (content.size() >= suffix.size() && std::equal(suffix.rbegin(), suffix.rend(), content.rbegin()))
    content.resize(content.size() - suffix.size());
  const size_t room = static_cast<size_t>(options.max_length) - prefix.size() - suffix.size();
  out.full_length = static_cast<int64_t>(prefix.size() + content.size() + suffix.size());
  if (content.size() > room) {
    if (options.truncation == Truncation::kRight)
      content.resize(room);
    else
      content.erase(content.begin(), content.end() - static_cast<std::ptrdiff_t>(room));
  }
  out.ids = prefix;
  out.ids.insert(out.ids.end(), content.begin(), content.end());
  out.ids.insert(out.ids.end(), suffix.begin(), suffix.end());
  return out;
}

}  // namespace

std::vector<int64_t> share_budget(int64_t budget, const std::vector<int64_t>& wanted,
                                  const std::vector<double>& shares) {
  std::vector<int64_t> kept(wanted.size(), 0);
  std::vector<bool> open(wanted.size(), true);
  int64_t left = budget;
  // Parts that want no more than their share get all they want; what they leave is shared again.
  for (bool changed = true; changed;) {
    changed = false;
    double open_shares = 0;
    for (size_t i = 0; i < wanted.size(); ++i)
      if (open[i]) open_shares += shares[i];
    int64_t round_budget = left;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (!open[i] || static_cast<double>(wanted[i]) > static_cast<double>(round_budget) * shares[i] / open_shares)
        continue;
      kept[i] = wanted[i];
      left -= wanted[i];
      open[i] = false;
      changed = true;
    }
  }
  double open_shares = 0;
  for (size_t i = 0; i < wanted.size(); ++i)
    if (open[i]) open_shares += shares[i];
  int64_t given = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!open[i]) continue;
    // The small addend keeps 30 from becoming 29.999….
    double part = static_cast<double>(left) * shares[i] / open_shares + 1e-9;
    kept[i] = std::min(wanted[i], static_cast<int64_t>(part));
    given += kept[i];
  }
  // Rounding leaves a few tokens: the last parts (the answers) get them first.
  for (size_t i = wanted.size(); i-- > 0 && given < left;) {
    if (!open[i] || kept[i] >= wanted[i]) continue;
    int64_t more = std::min(wanted[i] - kept[i], left - given);
    kept[i] += more;
    given += more;
  }
  return kept;
}

EncodedText encode_row(const PreferenceRow& row, bool swap, const EncodeOptions& options, const TextEncoder& encoder) {
  const int64_t fixed = static_cast<int64_t>(encoder.prefix.size() + encoder.suffix.size());
  const int64_t room = options.max_length - fixed;
  if (room < 1)
    fail("data.max_length: {} leaves no room beside the tokenizer's {} template tokens: make it larger",
         options.max_length, fixed);
  if (row.written_out) return encode_written_out(swap ? row.response_b : row.response_a, options, encoder);
  EncodedText out;
  out.ids = encoder.prefix;
  encode_text(options.text.render_framed(row, swap), encoder, out.ids);
  out.full_length = static_cast<int64_t>(out.ids.size() + encoder.suffix.size());
  if (out.full_length > options.max_length) {
    auto content = out.ids.begin() + static_cast<std::ptrdiff_t>(encoder.prefix.size());
    switch (options.truncation) {
      case Truncation::kRight:
        out.ids.resize(encoder.prefix.size() + static_cast<size_t>(room));
        break;
      case Truncation::kLeft:
        out.ids.erase(content, content + (out.full_length - options.max_length));
        break;
      case Truncation::kProportional: {
        std::vector<int32_t> kept = cut_proportionally(row, swap, options, encoder, room);
        out.ids.erase(content, out.ids.end());
        out.ids.insert(out.ids.end(), kept.begin(), kept.end());
        break;
      }
    }
  }
  out.ids.insert(out.ids.end(), encoder.suffix.begin(), encoder.suffix.end());
  return out;
}

}  // namespace gavel
