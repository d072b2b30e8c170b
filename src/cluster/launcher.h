#pragma once
#include "base/key_value.h"

namespace gavel {

/** What a launcher tells one of its processes. */
struct Launched {
  int index = 0;
  int count = 1;
  /** The caller's, to be deleted: that ends the connection. */
  KeyValueStore* store = nullptr;
};

/** The one function that gavel_pmix.so (src/pmix) exports, under the name "gavel_join_pmix": joins the processes of the job by
 * PMIx, which OpenMPI's mpirun and Slurm's srun --mpi=pmix speak. The library is loaded when a launcher started the program, so
 * that it runs without PMIx. It and the store throw std::runtime_error. */
using JoinPmix = Launched (*)();

}  // namespace gavel
