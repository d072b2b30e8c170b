// tokenize: texts to ids, tokens or counts, and ids back to texts.
#include <fcntl.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/log.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "io/model_path.h"
#include "report/progress.h"
#include "report/table.h"
#include "rows/cells.h"
#include "setup/open_model.h"

namespace gavel {

namespace {

struct TokenizeSettings {
  std::string tokenizer;
  std::vector<std::string> files, texts;
  bool jsonl = false, whole = false;
  bool ids = false, tokens = false, count = false, json = false;
  bool decode = false, skip_special = false;
  bool add_special = false, add_eos = false;
  int64_t max_length = 0;
  std::string truncation_side = "right";
  int threads = 0;
};

/** Gives a file, or standard input, in blocks of whole lines. A block ends early when nothing more is there
 * to read yet, so that a person or program that waits for the answer to a line gets it. */
class LineBlocks {
 public:
  explicit LineBlocks(const std::string& path) : name_(path == "-" ? "standard input" : path) {
    descriptor_ = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("{}: can't be opened: {}", path, std::strerror(errno));
  }
  ~LineBlocks() {
    if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
  }
  LineBlocks(const LineBlocks&) = delete;
  LineBlocks& operator=(const LineBlocks&) = delete;

  const std::string& name() const { return name_; }

  /** The next lines without their line breaks, valid until the next call; false at the end. With `whole` all
   * that is left is one "line". */
  bool next(std::vector<std::string_view>& lines, bool whole) {
    lines.clear();
    buffer_.erase(0, used_);
    used_ = 0;
    size_t breaks = buffer_.rfind('\n');
    while (!at_end_ && (whole || breaks == std::string::npos || (buffer_.size() < kBlock && more_waits()))) {
      size_t before = buffer_.size();
      read_some();
      size_t found = buffer_.rfind('\n');
      if (found != std::string::npos && found >= before) breaks = found;
    }
    if (whole) {
      used_ = buffer_.size();
      if (given_) return false;
      given_ = true;
      lines.emplace_back(buffer_);
      return true;
    }
    size_t end = at_end_ ? buffer_.size() : breaks + 1;
    for (size_t at = 0; at < end;) {
      size_t stop = std::min(buffer_.find('\n', at), end);
      lines.emplace_back(buffer_.data() + at, stop - at);
      at = stop + 1;
    }
    used_ = end;
    return !lines.empty();
  }

 private:
  static constexpr size_t kBlock = 8 << 20;

  bool more_waits() const {
    pollfd asked{descriptor_, POLLIN, 0};
    return ::poll(&asked, 1, 0) != 0;  // also at the end and for errors, which read() then tells
  }
  void read_some() {
    constexpr size_t kStep = 1 << 20;
    size_t before = buffer_.size();
    buffer_.resize(before + kStep);
    ssize_t got = 0;
    do got = ::read(descriptor_, buffer_.data() + before, kStep);
    while (got < 0 && errno == EINTR);
    int error = errno;
    buffer_.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0) fail("{}: can't be read: {}", name_, std::strerror(error));
    at_end_ = got == 0;
  }

  std::string name_;
  int descriptor_ = -1;
  std::string buffer_;
  size_t used_ = 0;
  bool at_end_ = false, given_ = false;
};

/** {"text": …} or {"ids": […]}; lone surrogates in escapes become U+FFFD, as in data files. */
nlohmann::json json_line(std::string_view line, const char* key, const std::string& where) {
  std::string mended;
  if (replace_lone_surrogates(line, mended) == 0) mended = line;
  auto json = nlohmann::json::parse(within_json_depth(mended, where), nullptr, false);
  if (!json.is_object() || !json.contains(key))
    fail("{}: expected a JSON object with \"{}\", found {:.60}", where, key, line);
  return json[key];
}

std::string text_of_line(std::string_view line, const std::string& where) {
  auto text = json_line(line, "text", where);
  if (!text.is_string()) fail("{}: \"text\" is not a string", where);
  return text.get<std::string>();
}

/** Ids as `tokenize` writes them, or with blanks between them. */
std::vector<int32_t> ids_of_line(std::string_view line, const std::string& where, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  const char* p = line.data();
  const char* end = p + line.size();
  auto skip = [&] {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == ',' || *p == '[' || *p == ']')) ++p;
  };
  for (skip(); p < end; skip()) {
    int64_t id = 0;
    auto [stop, error] = std::from_chars(p, end, id);
    if (error != std::errc())
      fail("{}: expected token ids like [1,2,3], found {:.60}", where, std::string_view(p, end));
    if (id < 0 || id >= tokenizer.vocab_size())
      fail("{}: {} is no id of this tokenizer, which has 0 to {}", where, id, tokenizer.vocab_size() - 1);
    ids.push_back(static_cast<int32_t>(id));
    p = stop;
  }
  return ids;
}

std::vector<std::string> token_strings(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  std::vector<std::string> out;
  for (int32_t id : ids) out.push_back(tokenizer.id_to_token(id));
  return out;
}

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Tokenizer load_named(const std::string& path) {
  fetch_model(path, kTokenizerFiles);
  return Tokenizer::load(resolve_model_path(path, kTokenizerFiles));
}

class TokenizeRun {
 public:
  explicit TokenizeRun(const TokenizeSettings& options) : options_(options), tokenizer_(load_named(options.tokenizer)) {
    if (options.add_eos) tokenizer_.set_template(!tokenizer_.prefix().empty() && tokenizer_.bos_id(), true);
    rows_.add_special_tokens = options.add_special || options.add_eos;
    if (options.max_length > 0)
      rows_.truncation = TruncationParams{.max_length = static_cast<size_t>(options.max_length),
                                          .direction = options.truncation_side == "left" ? Side::kLeft : Side::kRight};
  }

  void run() {
    // Texts from the command line, or files; a bar only where it does not mix with the results.
    std::vector<std::string_view> lines(options_.texts.begin(), options_.texts.end());
    if (!lines.empty()) {
      take(lines, "--text");
    } else {
      std::optional<Progress> progress;
      if (!isatty(STDOUT_FILENO) && spdlog::should_log(spdlog::level::info)) progress.emplace(0, "tokenize", "text");
      std::vector<std::string> files = options_.files;
      if (files.empty()) files.push_back("-");
      for (const std::string& file : files) {
        LineBlocks blocks(file);
        for (int64_t number = 1; blocks.next(lines, options_.whole); number += static_cast<int64_t>(lines.size())) {
          first_ = number;
          take(lines, blocks.name());
          if (progress) progress->update(texts_);
        }
      }
    }
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    if (replaced_ > 0)
      spdlog::warn("{} places were not UTF-8; each became U+FFFD", format_count(static_cast<int64_t>(replaced_)));
    if (!options_.decode)
      spdlog::info("{} texts, {} bytes, {} tokens, {:.2f} s", format_count(texts_), format_count(bytes_),
                   format_count(tokens_), seconds);
  }

 private:
  std::string where(const std::string& name, size_t i) const {
    return fmt::format("{}, line {}", name, first_ + static_cast<int64_t>(i));
  }

  void take(const std::vector<std::string_view>& lines, const std::string& name) {
    out_.clear();
    texts_ += static_cast<int64_t>(lines.size());
    if (options_.decode) {
      decode(lines, name);
    } else {
      encode(lines, name);
    }
    if (std::fwrite(out_.data(), 1, out_.size(), stdout) != out_.size() || std::fflush(stdout) != 0)
      fail("standard output: can't be written: {}", std::strerror(errno));
  }

  void decode(const std::vector<std::string_view>& lines, const std::string& name) {
    for (size_t i = 0; i < lines.size(); ++i) {
      std::string spelled;
      std::string_view line = lines[i];
      if (options_.jsonl) {
        if (line.empty()) continue;
        spelled = dump(json_line(line, "ids", where(name, i)));
        line = spelled;
      }
      std::string text = tokenizer_.decode(ids_of_line(line, where(name, i), tokenizer_), options_.skip_special);
      out_ += options_.json ? dump({{"text", text}}) : text;
      // A file's one text ends as it did; lines end as lines.
      if (!options_.whole || options_.json) out_ += '\n';
    }
  }

  void encode(const std::vector<std::string_view>& lines, const std::string& name) {
    std::vector<std::string> parsed;
    std::vector<std::string_view> texts = lines;
    if (options_.jsonl) {
      parsed.reserve(lines.size());
      for (size_t i = 0; i < lines.size(); ++i)
        if (!lines[i].empty()) parsed.push_back(text_of_line(lines[i], where(name, i)));
      texts.assign(parsed.begin(), parsed.end());
    }
    Tokenizer::Batch batch = tokenizer_.encode_batch(texts, rows_, options_.threads);
    for (std::string_view text : texts) bytes_ += static_cast<int64_t>(text.size());
    tokens_ += static_cast<int64_t>(batch.tokens);
    replaced_ += batch.replaced;
    auto out = std::back_inserter(out_);
    for (size_t i = 0; i < texts.size(); ++i) {
      std::span<const int32_t> ids = batch.rows[i];
      if (options_.json) {
        std::string text;
        append_lossy(text, texts[i]);
        out_ += dump({{"text", text},
                      {"count", ids.size()},
                      {"ids", std::vector<int32_t>(ids.begin(), ids.end())},
                      {"tokens", token_strings(tokenizer_, ids)}});
      } else if (options_.tokens) {
        out_ += dump(token_strings(tokenizer_, ids));
      } else if (options_.count) {
        fmt::format_to(out, "{}", ids.size());
      } else {
        fmt::format_to(out, "[{}]", fmt::join(ids, ","));
      }
      out_ += '\n';
    }
  }

  const TokenizeSettings& options_;
  Tokenizer tokenizer_;
  RowOptions rows_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::string out_;
  int64_t first_ = 1, texts_ = 0, bytes_ = 0, tokens_ = 0;
  size_t replaced_ = 0;
};

}  // namespace

void add_tokenize_command(CLI::App& app) {
  auto* command = app.add_subcommand("tokenize", "Token ids of texts, and texts of token ids");
  auto o = std::make_shared<TokenizeSettings>();
  command
      ->add_option("--tokenizer", o->tokenizer,
                   fmt::format("tokenizer.json, a folder with one, a .gguf file, or one of {}",
                               fmt::join(packaged_models(), ", ")))
      ->required();
  command->add_option("files", o->files, "Files of texts, a text a line; - or none: standard input");
  // With extra arguments allowed CLI11 would take the text "[a, b]" for two.
  auto* text =
      command->add_option("--text", o->texts, "A text, in place of files; may be given again")->allow_extra_args(false);
  auto* jsonl = command->add_flag("--jsonl", o->jsonl, "Lines are {\"text\": …} (with --decode: {\"ids\": […]})");
  command->add_flag("--whole", o->whole, "Each file is one text, line breaks included")
      ->excludes(jsonl)
      ->excludes(text);
  auto* decode = command->add_flag("--decode", o->decode, "Lines are token ids; print their texts");
  auto* ids = command->add_flag("--ids", o->ids, "Print [1,2,3] for each text (this is what is printed by default)");
  auto* tokens =
      command->add_flag("--tokens", o->tokens, "Print the tokens as tokenizer.json spells them")->excludes(ids);
  auto* count = command->add_flag("--count", o->count, "Print the number of tokens")->excludes(ids)->excludes(tokens);
  command
      ->add_flag("--json", o->json,
                 "Print {\"text\", \"count\", \"ids\", \"tokens\"} for each text (with --decode: "
                 "{\"text\"})")
      ->excludes(ids)
      ->excludes(tokens)
      ->excludes(count);
  for (auto* flag : {ids, tokens, count}) decode->excludes(flag);
  command
      ->add_flag("--add-special-tokens", o->add_special,
                 "Add what the tokenizer's template adds, like "
                 "<|begin_of_text|>")
      ->excludes(decode);
  command->add_flag("--add-eos-token", o->add_eos, "Add the template's first token and the eos token")
      ->excludes(decode);
  command->add_flag("--skip-special-tokens", o->skip_special, "Leave special tokens out of texts")->needs(decode);
  auto* longest = command
                      ->add_option("--max-length", o->max_length,
                                   "Cut to so many tokens, added ones included; 0 = "
                                   "do not")
                      ->check(CLI::NonNegativeNumber)
                      ->excludes(decode);
  command->add_option("--truncation-side", o->truncation_side, "The side that is cut")
      ->check(CLI::IsMember({"left", "right"}))
      ->needs(longest);
  command->add_option("--threads", o->threads, "Threads; 0 = one for each processor")->check(CLI::Range(0, 1024));
  command->callback([o] { TokenizeRun(*o).run(); });
}

}  // namespace gavel
