#include <csignal>

#include "base/memory.h"
#include "cli/run_cli.h"
#include "commit.h"

/** jemalloc reads this before main; MALLOC_CONF in the environment comes on top. The CPU plugin allocates all temporaries
 * of an execution anew with the process's malloc: memory that is kept, in huge pages, saves a tenth of a training step in
 * page faults (docs/decisions.md). */
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always";
}

int main(int argc, char** argv) {
  gavel::end_when_mapped_files_shrink();
  std::signal(SIGXFSZ, SIG_IGN);  // a file at the limit of its size is then an error with a name, like a full disk
  return gavel::run_cli(argc, argv, {GAVEL_COMMIT, GAVEL_COMMIT_DATE});
}
