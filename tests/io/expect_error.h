#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace gavel {

/** `run` must throw an Error whose text holds every part. */
template <class Run>
void expect_error(const Run& run, const std::vector<std::string>& parts) {
  try {
    run();
    ADD_FAILURE() << "no Error; expected one with: " << parts.back();
  } catch (const Error& error) {
    for (const auto& part : parts) EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

}  // namespace gavel
