// Speed and ids of the tokenizer, for tools/bench_tokenizer.py and tools/fuzz_tokenizer.py.
//
//   bench_text_tokenizer TOKENIZER TEXTS [--ids OUT] [--threads N] [--repeat N] [--regex] [--decode | --rows]
//
// TEXTS is a file of texts, each as a little-endian uint32 length and its bytes. OUT gets, for each text, a
// uint32 count and the ids as int32; with --decode instead the ids' text as uint32 length and bytes, once
// without and once with special tokens skipped. Prints one JSON object; MB are 10^6 bytes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer.h"

namespace gavel {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double cpu_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

std::vector<std::string_view> read_texts(std::string_view data, const std::string& path) {
  std::vector<std::string_view> texts;
  for (size_t at = 0; at < data.size();) {
    uint32_t size = 0;
    if (data.size() - at < 4) fail("{}: cut off at byte {}", path, at);
    std::memcpy(&size, data.data() + at, 4);
    at += 4;
    if (size > data.size() - at) fail("{}: cut off at byte {}", path, at);
    texts.push_back(data.substr(at, size));
    at += size;
  }
  return texts;
}

void append_block(std::string& out, const void* data, size_t count, size_t width) {
  auto n = static_cast<uint32_t>(count);
  out.append(reinterpret_cast<const char*>(&n), 4);
  out.append(static_cast<const char*>(data), count * width);
}

void run(int argc, char** argv) {
  if (argc < 3) fail("usage: bench_text_tokenizer TOKENIZER TEXTS [--ids OUT] [--threads N] [--repeat N]");
  std::string ids_path;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int repeat = 5;
  bool regex = false, decode = false, rows = false;
  for (int i = 3; i < argc; ++i) {
    std::string_view name = argv[i];
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (name == "--ids") {
      ids_path = value();
    } else if (name == "--threads") {
      threads = std::atoi(value());
    } else if (name == "--repeat") {
      repeat = std::atoi(value());
    } else if (name == "--regex") {
      regex = true;
    } else if (name == "--decode") {
      decode = true;
    } else if (name == "--rows") {
      rows = true;
    } else {
      fail("unknown option {}", name);
    }
  }
  double load = 1e9, load_cpu = 1e9;
  for (int i = 0; i < std::max(1, std::min(repeat, 5)); ++i) {
    double cpu_start = cpu_seconds();
    auto start = std::chrono::steady_clock::now();
    Tokenizer::load(argv[1]);
    load = std::min(load, seconds_since(start));
    load_cpu = std::min(load_cpu, cpu_seconds() - cpu_start);
  }
  Tokenizer tokenizer = Tokenizer::load(argv[1]);
  if (regex) tokenizer = tokenizer.with_regex_only();
  auto file = MappedFile::open(argv[2]);
  std::vector<std::string_view> texts = read_texts(file->text(), argv[2]);
  size_t bytes = 0, tokens = 0, replaced = 0;
  for (std::string_view text : texts) bytes += text.size();

  // A fresh vector for each text, as a caller that keeps the results would have it.
  auto encode_all = [&](std::vector<double>& wall, std::vector<double>& cpu) {
    double cpu_start = cpu_seconds();
    auto start = std::chrono::steady_clock::now();
    tokens = replaced = 0;
    for (std::string_view text : texts) {
      std::vector<int32_t> ids;
      replaced += tokenizer.encode(text, ids);
      tokens += ids.size();
    }
    wall.push_back(seconds_since(start));
    cpu.push_back(cpu_seconds() - cpu_start);
  };
  auto encode_batch = [&](int count) {
    auto start = std::chrono::steady_clock::now();
    tokenizer.encode_batch(texts, count);
    return seconds_since(start);
  };
  std::vector<double> cold, warm, cold_all, warm_all, cold_cpu, warm_cpu;
  for (int i = 0; i < repeat; ++i) {
    tokenizer.clear_cache();
    encode_all(cold, cold_cpu);
    encode_all(warm, warm_cpu);
    tokenizer.clear_cache();
    cold_all.push_back(encode_batch(threads));
    // Each thread has a cache of its own, and takes other texts each time: after three times it has seen
    // about all.
    for (int again = 0; again < 3; ++again) encode_batch(threads);
    warm_all.push_back(encode_batch(threads));
  }
  auto best = [&](std::vector<double>& times) {
    if (times.empty()) return 0.0;
    return static_cast<double>(bytes) / 1e6 / *std::min_element(times.begin(), times.end());
  };
  auto median = [&](std::vector<double>& times) {
    if (times.empty()) return 0.0;
    std::sort(times.begin(), times.end());
    return static_cast<double>(bytes) / 1e6 / times[times.size() / 2];
  };
  nlohmann::ordered_json out;
  out["texts"] = texts.size();
  out["bytes"] = bytes;
  out["load_ms"] = load * 1e3;
  out["load_cpu_ms"] = load_cpu * 1e3;
  if (repeat > 0) {
    out["tokens"] = tokens;
    out["replaced"] = replaced;
    out["threads"] = threads;
    out["cold_mb_s"] = {{"best", best(cold)}, {"median", median(cold)}};
    out["warm_mb_s"] = {{"best", best(warm)}, {"median", median(warm)}};
    // By processor time, which other programs on the machine disturb less.
    out["cold_cpu_mb_s"] = {{"best", best(cold_cpu)}, {"median", median(cold_cpu)}};
    out["warm_cpu_mb_s"] = {{"best", best(warm_cpu)}, {"median", median(warm_cpu)}};
    out["cold_all_mb_s"] = {{"best", best(cold_all)}, {"median", median(cold_all)}};
    out["warm_all_mb_s"] = {{"best", best(warm_all)}, {"median", median(warm_all)}};
  }
  if (!ids_path.empty()) {
    Tokenizer::Batch batch = tokenizer.encode_batch(texts, rows ? tokenizer.row_options() : RowOptions{}, threads);
    std::string blocks;
    for (size_t i = 0; i < texts.size(); ++i) {
      std::span<const int32_t> ids = batch.rows[i];
      if (!decode) append_block(blocks, ids.data(), ids.size(), 4);
      if (rows) {
        std::vector<uint8_t> bits = batch.attention_mask(i);
        std::vector<int32_t> mask(bits.begin(), bits.end());
        append_block(blocks, mask.data(), mask.size(), 4);
      }
      if (!decode) continue;
      for (bool skip : {false, true}) {
        std::string text = tokenizer.decode(ids, skip);
        append_block(blocks, text.data(), text.size(), 1);
      }
    }
    write_file(ids_path, blocks);
    out["replaced"] = batch.replaced;
  }
  std::puts(out.dump().c_str());
}

}  // namespace
}  // namespace gavel

int main(int argc, char** argv) {
  try {
    gavel::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
