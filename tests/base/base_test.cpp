#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "base/command_line.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/tensor.h"
#include "base/terminal.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

TEST(DType, Bf16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // a tie goes to the even neighbour
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, EveryHalfMatchesItsDefinition) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    int exponent = static_cast<int>((bits >> 10) & 31);
    double fraction = (bits & 1023) / 1024.0;
    double value = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    if (bits & 0x8000) value = -value;
    float found = f16_to_f32(static_cast<uint16_t>(bits));
    if (exponent == 31)
      EXPECT_EQ(std::isnan(found), fraction != 0);
    else
      EXPECT_EQ(found, static_cast<float>(value));
  }
}

TEST(CommandLine, WordsAreOneWordInAShell) {
  EXPECT_EQ(shell_word("runs/a-b_1=2.yaml"), "runs/a-b_1=2.yaml");
  EXPECT_EQ(shell_word("my run"), "'my run'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(own_arguments().size() > 0, true);
  EXPECT_NE(called_as().find("test_base"), std::string::npos);
}

/** Sets a variable, or takes it away. */
void put(const char* name, const char* value) {
  value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
}

TEST(Log, ColoursAreOnATerminalAndAsItIsAskedFor) {
  struct Case {
    const char *term, *no_color, *force, *color;
    bool on_terminal, elsewhere;
  };
  for (const Case& c : {Case{"xterm", nullptr, nullptr, nullptr, true, false},
                        {"dumb", nullptr, nullptr, nullptr, false, false},
                        {nullptr, nullptr, nullptr, nullptr, false, false},
                        {"xterm", "1", nullptr, nullptr, false, false},
                        {"xterm", "", nullptr, nullptr, true, false},
                        {"xterm", nullptr, nullptr, "0", false, false},
                        {"xterm", nullptr, nullptr, "1", true, false},
                        {"xterm", nullptr, "1", "0", true, true},
                        {"xterm", nullptr, "0", nullptr, true, false},
                        {"xterm", "1", "1", nullptr, false, false}}) {
    put("TERM", c.term);
    put("NO_COLOR", c.no_color);
    put("CLICOLOR_FORCE", c.force);
    put("CLICOLOR", c.color);
    EXPECT_EQ(shows_colours(true), c.on_terminal);
    EXPECT_EQ(shows_colours(false), c.elsewhere);
  }
  for (const char* name : {"NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"}) put(name, nullptr);
}

TEST(Printable, WhatATerminalActsOnIsWrittenOut) {
  using namespace std::string_literals;
  EXPECT_EQ(printable("a\x1b]0;pwn\x07\x1b[31mb\r\x7f"), "a\\x1b]0;pwn\\x07\\x1b[31mb\\x0d\\x7f");
  EXPECT_EQ(printable("p\0q"s), "p\\x00q");
  EXPECT_EQ(printable("line\n\ttab é 的 👩"), "line\n\ttab é 的 👩");
  EXPECT_EQ(printable("\u009b31m"), "\\xc2\\x9b31m");                            // the eight-bit form of ESC [
  EXPECT_EQ(printable("a\u202eb\u2066c"), "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6c");  // text that runs backwards
  EXPECT_EQ(printable("a\xff\x9b"), "a\ufffd\ufffd");
}

TEST(Printable, OfALongTextTheBeginningAndTheEndAreLeft) {
  std::string text = "first ";
  while (text.size() < 1'000'000) text += "的";
  const std::string shown = printable(text + " last", 1000);
  EXPECT_LT(shown.size(), 1100u);
  EXPECT_TRUE(shown.starts_with("first 的"));
  EXPECT_TRUE(shown.ends_with("的 last"));
  EXPECT_NE(shown.find("more bytes"), std::string::npos);
  EXPECT_EQ(shown.find("\ufffd"), std::string::npos);
}

TEST(Error, ATextDoesNotEndAtNul) {
  EXPECT_STREQ(Error(std::string("a\0b", 3)).what(), "a\\x00b");
}

TEST(HostTensor, TypedAccessIsChecked) {
  auto tensor = HostTensor::from<float>({1, 2, 3, 4}, {2, 2});
  EXPECT_EQ(tensor.as<float>()[3], 4);
  EXPECT_THROW(tensor.as<int32_t>(), Error);
  EXPECT_THROW(HostTensor::from<float>({1, 2}, {3}), Error);
  EXPECT_EQ(tensor.to(DType::kBF16).to(DType::kF32).as<float>()[2], 3);
  EXPECT_THROW(tensor.reshaped({3}), Error);
}

TEST(File, AtomicWriteLeavesTheOldFileWhenNotCommitted) {
  auto folder = fs::temp_directory_path() / "gavel_file_test";
  fs::remove_all(folder);
  make_folder(folder);
  write_file(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
  write_file(folder / "a", "new");
  EXPECT_EQ(read_text(folder / "a"), "new");
  EXPECT_THROW(read_text(folder / "missing"), Error);
  EXPECT_THROW(read_text(folder), Error);
  fs::remove_all(folder);
}

TEST(Error, SuggestsTheNearestName) {
  EXPECT_EQ(nearest("lern_rate", {"learning_rate", "lora_alpha"}), "");
  EXPECT_EQ(nearest("learnin_rate", {"learning_rate", "lora_alpha"}), "learning_rate");
  EXPECT_EQ(did_you_mean("zzz", {"abc"}), "");
}

TEST(Random, IsAFunctionOfKeyAndCounter) {
  Random random(7);
  random.next();
  EXPECT_EQ(random.next(), random_bits(7, 1));
  std::vector<int> items(100);
  std::iota(items.begin(), items.end(), 0);
  auto copy = items;
  Random a(1);
  shuffle(items, a);
  EXPECT_NE(items, copy);
  std::sort(items.begin(), items.end());
  EXPECT_EQ(items, copy);
}

}  // namespace
}  // namespace gavel
