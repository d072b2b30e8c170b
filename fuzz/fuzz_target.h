#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/** What every target (X_fuzz.cpp) defines: the target, with the name and meaning that libFuzzer gives it, and
 * inputs to begin with. */
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
std::vector<std::string> fuzz_seeds();
