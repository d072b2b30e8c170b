#pragma once
#include "cluster/process_group.h"

namespace gavel {

/** Joins the processes of the job by PMIx, which OpenMPI's mpirun and Slurm's srun --mpi=pmix speak. Throws Error when
 * the launcher can't be reached. */
ProcessGroup join_with_pmix();

}  // namespace gavel
