#pragma once
#include <simdjson.h>

#include "rows/row_source.h"

namespace gavel {

/** Makes of a row of Format::kRanked all pairs of its answers, the first in `out`, the others in its `more`. A pair's A is the
 * one that is listed first; the better score wins, equal ones are a tie. `out` has the row's id and number, and its weight, which
 * the pairs share evenly. */
void take_ranked(simdjson::dom::object object, const detail::ColumnNames& names, const ReadOptions& options,
                 bool has_labels, ParsedRow& out);

}  // namespace gavel
