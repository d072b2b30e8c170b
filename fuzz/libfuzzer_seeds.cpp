// Linked with each target under libFuzzer: fills an empty corpus folder (the first argument that is no
// option) with the target's seeds before libFuzzer reads it.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  for (int i = 1; i < *argc; ++i) {
    std::filesystem::path folder = (*argv)[i];
    if (std::string_view((*argv)[i]).starts_with("-")) continue;
    if (!std::filesystem::is_directory(folder) || !std::filesystem::is_empty(folder)) return 0;
    int number = 0;
    for (const std::string& seed : fuzz_seeds())
      std::ofstream(folder / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
    std::fprintf(stderr, "%s: %d seeds written\n", folder.c_str(), number);
    return 0;
  }
  return 0;
}
