// A fuzzer without libFuzzer, so that every build runs the targets: mutates the seeds by a fixed rule, the
// same inputs for the same seed number on every machine. It has no coverage feedback; a clang build with
// GAVEL_LIBFUZZER does.
//
//   fuzz_X [--seed N] [--iterations N] [--seconds S] [file...]    with files: runs these and stops
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz_target.h"

namespace {

constexpr size_t kMaxSize = size_t{1} << 20;
constexpr uint64_t kInteresting[] = {0,
                                     1,
                                     7,
                                     8,
                                     31,
                                     32,
                                     127,
                                     128,
                                     255,
                                     256,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x10000,
                                     1u << 30,
                                     0x7fffffff,
                                     1u << 31,
                                     0xffffffff,
                                     uint64_t{1} << 32,
                                     uint64_t{1} << 40,
                                     uint64_t{1} << 62,
                                     0x7fffffffffffffff,
                                     uint64_t{1} << 63,
                                     0xffffffffffffffe0,
                                     0xffffffffffffffff};

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, uint64_t seed) : seeds_(std::move(seeds)), random_(seed) {}

  std::string next() {
    std::string input = seeds_[below(seeds_.size())];
    for (size_t steps = 1 + below(4); steps > 0; --steps) change(input);
    if (input.size() > kMaxSize) input.resize(kMaxSize);
    return input;
  }

 private:
  /** Not a distribution of the standard library: those differ between libraries. */
  size_t below(size_t limit) { return limit == 0 ? 0 : static_cast<size_t>(random_() % limit); }

  void change(std::string& input) {
    size_t at = below(input.size() + 1);
    switch (below(9)) {
      case 0:  // one bit
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:  // one byte
        if (at < input.size()) input[at] = static_cast<char>(random_());
        break;
      case 2:  // insert bytes
        for (size_t n = 1 + below(8); n > 0; --n) input.insert(at, 1, static_cast<char>(random_()));
        break;
      case 3:  // delete bytes
        input.erase(at, 1 + below(16));
        break;
      case 4:  // cut short
        input.resize(at);
        break;
      case 5: {  // the start of this, the end of another
        const std::string& other = seeds_[below(seeds_.size())];
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
        break;
      }
      case 6: {  // an integer of 1, 2, 4 or 8 bytes
        uint64_t value = kInteresting[below(std::size(kInteresting))];
        size_t width = size_t{1} << below(4);
        if (at + width <= input.size()) std::memcpy(input.data() + at, &value, width);
        break;
      }
      case 7: {  // a decimal number for another
        size_t begin = input.find_first_of("0123456789", at);
        if (begin == std::string::npos) break;
        size_t end = begin;
        while (end < input.size() && input[end] >= '0' && input[end] <= '9') ++end;
        input.replace(begin, end - begin, std::to_string(kInteresting[below(std::size(kInteresting))]));
        break;
      }
      default: {  // a piece of itself again, at times very often: depth, and what costs more than its length
        size_t length = below(64);
        if (below(64) == 0) {
          const std::string piece = input.substr(at, 1 + length % 8);
          std::string many;
          for (size_t size = size_t{1} << (10 + below(9)); !piece.empty() && many.size() < size;) many += piece;
          input.insert(at, many);
          break;
        }
        if (at < input.size()) input.insert(below(input.size()), input.substr(at, length));
        break;
      }
    }
  }

  std::vector<std::string> seeds_;
  std::mt19937_64 random_;
};

std::string g_input;  // for the message of a crash; one thread

void keep_input() {
  const char* name = "fuzz_crash.bin";
  std::ofstream(name, std::ios::binary).write(g_input.data(), static_cast<std::streamsize>(g_input.size()));
  std::fprintf(stderr, "fuzz: the input (%zu bytes) is in %s\n", g_input.size(), name);
}

void run(const std::string& input) {
  g_input = input;
  // A copy of exactly this size on the heap, so that reading past the end is seen by the sanitizer.
  std::vector<uint8_t> bytes(input.begin(), input.end());
  auto start = std::chrono::steady_clock::now();
  try {
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz: an exception left the target: %s\n", error.what());
    keep_input();
    std::exit(1);
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (seconds > 10) {
    std::fprintf(stderr, "fuzz: one input took %.1f s\n", seconds);
    keep_input();
    std::exit(1);
  }
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __asan_set_death_callback(void (*callback)());
#endif

int main(int argc, char** argv) {
  uint64_t seed = 1, iterations = 1000000000;
  double seconds = 0;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name.starts_with("--") && i + 1 >= argc) {
      std::fprintf(stderr, "fuzz: %s needs a value\n", name.c_str());
      return 2;
    }
    if (name == "--seed")
      seed = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--iterations")
      iterations = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--seconds")
      seconds = std::strtod(argv[++i], nullptr);
    else
      files.push_back(name);
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_set_death_callback(keep_input);
#endif
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    run(std::string(std::istreambuf_iterator<char>(in), {}));
  }
  if (!files.empty()) return 0;

  auto seeds = fuzz_seeds();
  if (seeds.empty()) seeds.emplace_back();
  for (const auto& input : seeds) run(input);
  run("");
  Mutator mutator(seeds, seed);
  auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  uint64_t done = 0;
  while (done < iterations && (seconds <= 0 || elapsed() < seconds)) {
    run(mutator.next());
    ++done;
  }
  std::printf("fuzz: %llu inputs of seed %llu in %.1f s\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(seed), elapsed());
  return 0;
}
