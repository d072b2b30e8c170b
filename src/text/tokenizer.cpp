#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "pieces/scanners.h"
#include "pieces/space_mark.h"
#include "pieces/unicode.h"
#include "text/tokenizer_impl.h"

namespace gavel {
namespace {

const uint8_t* bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

template <class Scanner>
void scan(const BpeModel& model, const Scanner& scanner, std::string_view text, const uint8_t* safe_end,
          BpeModel::Scratch& scratch, IdWriter& out) {
  const uint8_t* p = bytes(text);
  const uint8_t* end = p + text.size();
  while (end - p >= 16) {
    if (uint32_t size = Scanner::next_word(p)) {
      model.encode_short(ShortWord::load(p, size, true), p, size, scratch, out);
      p += size;
    } else {
      const uint8_t* q = scanner.next(p);
      model.encode_piece(p, static_cast<size_t>(q - p), safe_end, scratch, out);
      p = q;
    }
  }
  while (p < end) {
    const uint8_t* q = scanner.next(p);
    model.encode_piece(p, static_cast<size_t>(q - p), safe_end, scratch, out);
    p = q;
  }
}

void encode_fragment(const BpeModel& model, const PreTokenizer& pre, std::string_view text, const uint8_t* safe_end,
                     EncodeScratch& scratch, std::vector<int32_t>& ids) {
  IdWriter out(ids);
  using Kind = PreTokenizer::Kind;
  const UnicodeTable& table = UnicodeTable::get();
  const uint8_t* end = bytes(text) + text.size();
  switch (pre.kind()) {
    case Kind::kLlama3:
      return scan(model, Llama3Scanner(table, end), text, safe_end, scratch.bpe, out);
    case Kind::kLlama3One:
      return scan(model, Llama3Scanner(table, end, 1), text, safe_end, scratch.bpe, out);
    case Kind::kGpt2:
      return scan(model, Gpt2Scanner<false>(table, end), text, safe_end, scratch.bpe, out);
    case Kind::kDigitsGpt2:
      return scan(model, Gpt2Scanner<true>(table, end), text, safe_end, scratch.bpe, out);
    case Kind::kWhole:
      return model.encode_piece(bytes(text), text.size(), safe_end, scratch.bpe, out);
    case Kind::kGeneral:
      break;
  }
  if (pre.prefix_space()) {
    scratch.strings.clear();
    pre.split_strings(text, scratch.regex, scratch.strings);
    for (const std::string& piece : scratch.strings)
      model.encode_piece(bytes(piece), piece.size(), bytes(piece) + piece.size(), scratch.bpe, out);
    return;
  }
  pre.split(text, scratch.regex, scratch.ranges);
  for (auto [begin, stop] : scratch.ranges)
    model.encode_piece(bytes(text) + begin, stop - begin, safe_end, scratch.bpe, out);
}

/** The short way of models of characters; `part` stands in a text that ends at `safe_end`. */
void encode_marked(const BpeModel& model, const MarkedText& marked, std::string_view part, bool at_start,
                   const uint8_t* safe_end, EncodeScratch& scratch, std::vector<int32_t>& ids) {
  std::string_view text = marked.run(part, at_start, scratch.marked);
  if (text.data() != part.data()) {
    scratch.marked.append(16, '\0');  // words near the end can then be read with their surroundings
    text = std::string_view(scratch.marked).substr(0, scratch.marked.size() - 16);
    safe_end = bytes(text) + text.size() + 16;
  }
  IdWriter out(ids);
  auto put = [&](size_t begin, size_t end) {
    model.encode_piece(bytes(text) + begin, end - begin, safe_end, scratch.bpe, out);
  };
  if (marked.split()) {
    size_t begin = 0;
    for (size_t space = text.find(' ', 1); space != std::string_view::npos; space = text.find(' ', begin + 1)) {
      put(begin, space);
      begin = space;
    }
    put(begin, text.size());
  } else if (marked.rest().stages().empty()) {
    put(0, text.size());
  } else {
    marked.rest().split_characters(text, at_start, scratch.regex, scratch.spelled, scratch.ranges);
    for (auto [begin, end] : scratch.ranges) put(begin, end);
  }
}

/** Any list of stages in front of a model of characters; `part` is normalized. */
void encode_characters(const BpeModel& model, const PreTokenizer& pre, std::string_view part, bool at_start,
                       EncodeScratch& scratch, std::vector<int32_t>& ids) {
  std::string_view text = pre.split_characters(part, at_start, scratch.regex, scratch.spelled, scratch.ranges);
  IdWriter out(ids);
  for (auto [begin, end] : scratch.ranges) {
    std::string_view piece = text.substr(begin, end - begin);
    if (model.spelling() == Spelling::kMarked) {
      scratch.marked.clear();
      append_marked(scratch.marked, piece);
      piece = scratch.marked;
    }
    model.encode_piece(bytes(piece), piece.size(), bytes(piece) + piece.size(), scratch.bpe, out);
  }
}

}  // namespace

size_t Tokenizer::encode(std::string_view text, std::vector<int32_t>& ids) const {
  ScratchPool::Lease lease(impl_->pool);
  return encode(text, {}, *lease, ids);
}

size_t Tokenizer::encode_around(std::string_view text, std::span<const ByteRange> foreign,
                                std::vector<int32_t>& ids) const {
  std::string mended;
  std::vector<ByteRange> moved;
  size_t replaced = 0;
  if (!is_valid_utf8(text)) {
    size_t at = 0;
    for (const auto& [begin, end] : foreign) {
      replaced += append_lossy(mended, text.substr(at, begin - at));
      const size_t first = mended.size();
      replaced += append_lossy(mended, text.substr(begin, end - begin));
      moved.emplace_back(first, mended.size());
      at = end;
    }
    replaced += append_lossy(mended, text.substr(at));
    text = mended;
    foreign = moved;
  }
  ScratchPool::Lease lease(impl_->pool);
  encode(text, foreign, *lease, ids);
  return replaced;
}

size_t Tokenizer::encode(std::string_view text, std::span<const ByteRange> foreign, EncodeScratch& scratch,
                         std::vector<int32_t>& ids) const {
  const Impl& impl = *impl_;
  // A token that takes the white space before it is where its first letter is.
  auto is_foreign = [&](std::string_view whole, size_t begin, size_t end, int32_t id) {
    if (foreign.empty() || !is_special(id)) return false;
    while (begin + 1 < end && (whole[begin] == ' ' || whole[begin] == '\n' || whole[begin] == '\t')) ++begin;
    return std::any_of(foreign.begin(), foreign.end(),
                       [&](const ByteRange& range) { return begin >= range.first && begin < range.second; });
  };
  size_t replaced = 0;
  if (!is_valid_utf8(text)) {
    scratch.text.clear();
    replaced = append_lossy(scratch.text, text);
    text = scratch.text;
  }
  const uint8_t* safe_end = bytes(text) + text.size();
  scratch.regex.begin_text(text.size());
  scratch.pieces.clear();
  impl.first.split(text, scratch.pieces);
  for (const auto& outer : scratch.pieces) {
    const bool as_text = outer.id >= 0 && is_foreign(text, outer.begin, outer.end, outer.id);
    if (outer.id >= 0 && !as_text) {
      ids.push_back(outer.id);
      continue;
    }
    std::string_view part = text.substr(outer.begin, outer.end - outer.begin);
    if (impl.marked) {
      encode_marked(impl.model, *impl.marked, part, outer.begin == 0, safe_end, scratch, ids);
      continue;
    }
    std::string_view normal = impl.normalizer.run(part, scratch.normalized);
    const uint8_t* end = normal.data() == part.data() ? safe_end : bytes(normal) + normal.size();
    auto encode_rest = [&](size_t begin, size_t stop) {
      std::string_view rest = normal.substr(begin, stop - begin);
      if (impl.pre.byte_level()) {
        encode_fragment(impl.model, impl.pre, rest, end, scratch, ids);
      } else {
        encode_characters(impl.model, impl.pre, rest, outer.begin == 0 && begin == 0, scratch, ids);
      }
    };
    if (impl.second.empty() || as_text) {
      encode_rest(0, normal.size());
      continue;
    }
    scratch.inner.clear();
    impl.second.split(normal, scratch.inner);
    for (const auto& piece : scratch.inner) {
      // Where normalizing changed the text, a place in it is not known in the text as it was.
      const bool known = normal.data() == part.data();
      if (piece.id >= 0 && !(known && is_foreign(text, outer.begin + piece.begin, outer.begin + piece.end, piece.id))) {
        ids.push_back(piece.id);
      } else {
        encode_rest(piece.begin, piece.end);
      }
    }
  }
  return replaced;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const Impl& impl = *impl_;
  // As in `tokenizers`, what counts is the token as it was looked for.
  auto skipped = [&](const AddedToken& token) {
    if (!skip_special) return false;
    auto it = impl.added_by_content.find(token.normal);
    return it != impl.added_by_content.end() && impl.added[it->second].special;
  };
  if (impl.decoder) {
    std::vector<std::string> tokens;
    for (int32_t id : ids) {
      auto it = impl.added_by_id.find(id);
      if (it != impl.added_by_id.end()) {
        const AddedToken& token = impl.added[it->second];
        if (!skipped(token)) tokens.push_back(token.normal);
      } else if (std::string token = impl.model.id_to_token(id); !token.empty()) {
        tokens.push_back(std::move(token));
      }
    }
    return impl.decoder->run(std::move(tokens));
  }
  std::string raw;
  bool any = false;
  for (int32_t id : ids) {
    auto it = impl.added_by_id.find(id);
    if (it != impl.added_by_id.end()) {
      const AddedToken& token = impl.added[it->second];
      if (skipped(token)) continue;
      if (!impl.byte_level_decoder) {
        if (any) raw += ' ';
        raw += token.normal;
      } else if (!ByteAlphabet::get().append_bytes(raw, token.normal)) {
        raw += token.normal;
      }
      any = true;
    } else if (!impl.byte_level_decoder) {
      if (id < 0 || id >= impl.model.id_end()) continue;
      if (any) raw += ' ';
      raw += impl.model.id_to_token(id);
      any = true;
    } else {
      impl.model.append_bytes(raw, id);
    }
  }
  if (is_valid_utf8(raw)) return raw;
  std::string out;
  append_lossy(out, raw);
  return out;
}

const std::string& Tokenizer::source() const {
  return impl_->source;
}

const std::string& Tokenizer::chat_template() const {
  return impl_->chat_template;
}

int32_t Tokenizer::vocab_size() const {
  int32_t size = impl_->model.id_end();
  for (const AddedToken& token : impl_->added) size = std::max(size, token.id + 1);
  return size;
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  auto it = impl_->added_by_content.find(std::string(token));
  if (it != impl_->added_by_content.end()) return impl_->added[it->second].id;
  return impl_->model.token_to_id(token);
}

std::string Tokenizer::id_to_token(int32_t id) const {
  auto it = impl_->added_by_id.find(id);
  return it != impl_->added_by_id.end() ? impl_->added[it->second].content : impl_->model.id_to_token(id);
}

bool Tokenizer::is_special(int32_t id) const {
  auto it = impl_->added_by_id.find(id);
  return it != impl_->added_by_id.end() && impl_->added[it->second].special;
}

void Tokenizer::set_pad_id(int32_t id) {
  if (id_to_token(id).empty()) fail("{}: the pad id {} has no token", impl_->source, id);
  pad_ = id;
}

void Tokenizer::clear_cache() const {
  impl_->pool.clear();
}

}  // namespace gavel
