#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "data/text_encoder.h"

namespace gavel {

/** A folder of its own for each test, removed at its end. */
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "gavel_data_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path write(const std::string& name, std::string_view text) const {
    write_file(path_ / name, text);
    return path_ / name;
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/** Real data beside the repository; "" when it is not there. */
inline std::filesystem::path shared_file(const std::string& name) {
  const char* given = std::getenv("GAVEL_SHARED");
  std::filesystem::path base = given != nullptr ? given : std::filesystem::path(GAVEL_SOURCE_DIR) / "../shared";
  return std::filesystem::exists(base / name) ? base / name : std::filesystem::path();
}

/** One token per byte. */
inline TextEncoder byte_encoder() {
  TextEncoder encoder;
  encoder.encode = [](std::string_view text, std::vector<int32_t>& out) {
    for (char c : text) out.push_back(static_cast<uint8_t>(c));
  };
  encoder.pad_id = 0;
  return encoder;
}

/** One token per word, a word being a run of letters with the space before it, any other byte alone. */
inline TextEncoder word_encoder() {
  TextEncoder encoder;
  encoder.encode = [](std::string_view text, std::vector<int32_t>& out) {
    for (size_t i = 0; i < text.size();) {
      size_t end = i + 1;
      if (text[i] == ' ' || std::isalnum(static_cast<unsigned char>(text[i])))
        while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end]))) ++end;
      uint32_t hash = 2166136261u;
      for (; i < end; ++i) hash = (hash ^ static_cast<uint8_t>(text[i])) * 16777619u;
      out.push_back(static_cast<int32_t>(hash % 50000) + 1);
    }
  };
  encoder.pad_id = 0;
  return encoder;
}

/** The text of the Error that `action` throws; fails the test when it throws none. */
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

}  // namespace gavel
