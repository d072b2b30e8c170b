#include "train/parity.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace gavel {
namespace {

namespace fs = std::filesystem;

fs::path goldens() {
  const char* shared = std::getenv("GAVEL_SHARED");
  return (shared != nullptr ? fs::path(shared) : fs::path(GAVEL_SOURCE_DIR) / "../shared") / "goldens";
}

std::shared_ptr<pjrt::Client> client() {
  static auto made = pjrt::Client::create(pjrt::Plugin::load("cpu"));
  return made;
}

TEST(Parity, AllSharedGoldensInBothForms) {
  if (!fs::exists(goldens())) GTEST_SKIP() << "no folder " << goldens();
  int folders = 0;
  for (const auto& entry : fs::directory_iterator(goldens())) {
    for (LayerForm form : {LayerForm::kUnrolled, LayerForm::kScan}) {
      ParityReport report = run_parity(entry.path(), form, client(), {});
      EXPECT_TRUE(report.passed()) << entry.path().filename()
                                   << (form == LayerForm::kScan ? " scan\n" : " unrolled\n")
                                   << format_parity(report);
      std::cout << entry.path().filename() << (form == LayerForm::kScan ? " scan\n" : " unrolled\n")
                << format_parity(report);
    }
    ++folders;
  }
  EXPECT_GT(folders, 0);
}

}  // namespace
}  // namespace gavel
