#pragma once
#include "serve/batch_queue.h"

namespace gavel {

/** The judge of a reward, asked with fewer rows: conversations that are written out and stand alone in their rows (on both
 * sides, as a request with one text has it) are put together two by two, so that each is read once. Their verdicts have the
 * rewards and lengths of both sides alike; their probabilities mean nothing. */
JudgeFunction with_paired_texts(JudgeFunction judge);

/** A judge of pairs that reads texts that are written out in one order: in them there is nothing to exchange. */
JudgeFunction with_written_texts(JudgeFunction judge, JudgeFunction one_order);

}  // namespace gavel
