// gavel_pmix.so: the processes of a job through PMIx.
#include <fmt/format.h>
#include <pmix.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

#include "cluster/launcher.h"

namespace gavel {

namespace {

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw std::runtime_error(fmt::format(format, std::forward<Args>(args)...));
}

void check(pmix_status_t status, const char* what) {
  if (status == PMIX_ERR_NOT_SUPPORTED || status == PMIX_ERR_NOT_IMPLEMENTED)
    fail(
        "the launcher can't pass values between processes (PMIx: no publish and lookup; Slurm's srun has "
        "none): start the run "
        "with OpenMPI's `mpirun`, within a Slurm job too");
  if (status != PMIX_SUCCESS)
    fail("the launcher (PMIx) failed at {}: {}; did another process of the run end?", what, PMIx_Error_string(status));
}

/** A list of pmix_info_t. */
class Infos {
 public:
  explicit Infos(size_t capacity) : capacity_(capacity) { PMIX_INFO_CREATE(infos_, capacity); }
  ~Infos() { PMIX_INFO_FREE(infos_, capacity_); }
  Infos(const Infos&) = delete;
  Infos& operator=(const Infos&) = delete;
  void add(const char* key, const void* value, pmix_data_type_t type) {
    PMIX_INFO_LOAD(&infos_[size_], key, value, type);
    ++size_;
  }
  const pmix_info_t* data() const { return infos_; }
  size_t size() const { return size_; }

 private:
  pmix_info_t* infos_ = nullptr;
  size_t capacity_, size_ = 0;
};

/** Data published to all processes of the job; the launcher holds it until it is unpublished or the job ends.
 */
class PmixStore : public KeyValueStore {
 public:
  explicit PmixStore(const pmix_proc_t& self) : self_(self) {}
  ~PmixStore() override { PMIx_Finalize(nullptr, 0); }

  void put(const std::string& key, const std::string& value) override {
    std::string name = bounded(key);
    pmix_byte_object_t bytes{const_cast<char*>(value.data()), value.size()};
    Infos infos(2);
    infos.add(name.c_str(), &bytes, PMIX_BYTE_OBJECT);
    infos.add(PMIX_RANGE, &range_, PMIX_DATA_RANGE);
    check(PMIx_Publish(infos.data(), infos.size()), "publishing a value");
  }

  std::string get(const std::string& key, int timeout_ms) override {
    // Asking again and again: OpenMPI's launcher never ends a lookup that waits (PMIX_WAIT), whatever
    // PMIX_TIMEOUT says.
    using namespace std::chrono;
    const auto end = steady_clock::now() + milliseconds(timeout_ms);
    for (auto pause = microseconds(200);; pause = std::min<microseconds>(pause * 2, milliseconds(20))) {
      if (auto found = try_get(key)) return *found;
      if (steady_clock::now() >= end) fail("no process of the run gave '{}' within {} ms", key, timeout_ms);
      std::this_thread::sleep_for(pause);
    }
  }

  std::optional<std::string> try_get(const std::string& key) override {
    std::string name = bounded(key);
    pmix_pdata_t data;
    PMIX_PDATA_CONSTRUCT(&data);
    std::memcpy(data.key, name.c_str(), name.size() + 1);
    Infos infos(1);
    infos.add(PMIX_RANGE, &range_, PMIX_DATA_RANGE);
    pmix_status_t status = PMIx_Lookup(&data, 1, infos.data(), infos.size());
    std::optional<std::string> result;
    if (status == PMIX_SUCCESS && data.value.type == PMIX_BYTE_OBJECT)
      result.emplace(data.value.data.bo.bytes, data.value.data.bo.size);
    PMIX_PDATA_DESTRUCT(&data);
    if (status != PMIX_ERR_NOT_FOUND && status != PMIX_ERR_PARTIAL_SUCCESS) check(status, "looking up a value");
    return result;
  }

  void erase(const std::string& key) override {
    std::string name = bounded(key);
    char* names[] = {name.data(), nullptr};
    Infos infos(1);
    infos.add(PMIX_RANGE, &range_, PMIX_DATA_RANGE);
    check(PMIx_Unpublish(names, infos.data(), infos.size()), "forgetting a value");
  }

 private:
  /** Published keys have no rank and a bounded length: they carry the job's name, and long ones are cut and
   * carry a hash of the whole. */
  std::string bounded(const std::string& key) const {
    std::string text = fmt::format("gavel/{}/{}", self_.nspace, key);
    if (text.size() < PMIX_MAX_KEYLEN) return text;
    return fmt::format("{}#{:016x}", text.substr(0, PMIX_MAX_KEYLEN - 20), std::hash<std::string>()(text));
  }

  pmix_proc_t self_;
  const pmix_data_range_t range_ = PMIX_RANGE_SESSION;
};

}  // namespace

}  // namespace gavel

extern "C" __attribute__((visibility("default"))) gavel::Launched gavel_join_pmix() {
  using namespace gavel;
  pmix_proc_t self;
  pmix_status_t status = PMIx_Init(&self, nullptr, 0);
  if (status != PMIX_SUCCESS)
    fail(
        "the environment says that this process is one of several, but their launcher can't be reached "
        "(PMIx: {}): start "
        "them with OpenMPI's `mpirun`, or with `srun --mpi=pmix`",
        PMIx_Error_string(status));
  Launched launched;
  launched.store = new PmixStore(self);
  launched.index = static_cast<int>(self.rank);
  pmix_proc_t all;
  PMIX_PROC_CONSTRUCT(&all);
  PMIX_LOAD_PROCID(&all, self.nspace, PMIX_RANK_WILDCARD);
  pmix_value_t* value = nullptr;
  check(PMIx_Get(&all, PMIX_JOB_SIZE, nullptr, 0, &value), "asking for the number of processes");
  launched.count = static_cast<int>(value->data.uint32);
  PMIX_VALUE_RELEASE(value);
  return launched;
}
