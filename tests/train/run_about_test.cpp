#include "train/run_about.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "spec/family.h"
#include "spec/mesh_llama.h"

namespace gavel {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(RunAbout, AFrozenHeadIsNotCountedAsTrained) {
  ModelOptions free;
  free.spec = decoder_spec(mesh_llama(2));
  free.lora = {4, 8, 0, {"o_proj", "v_proj"}};
  ModelOptions frozen = free;
  frozen.freeze_head = true;
  const int64_t head = free.num_labels * free.spec.hidden_size;
  const ParameterCounts all = count_parameters(free), adapters = count_parameters(frozen);
  EXPECT_EQ(adapters.trained, all.trained - head);
  EXPECT_EQ(adapters.frozen, all.frozen + head);
  EXPECT_THAT(trainable_table(free), HasSubstr("score"));
  EXPECT_THAT(trainable_table(frozen), Not(HasSubstr("score")));
}

}  // namespace
}  // namespace gavel
