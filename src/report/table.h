#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace gavel {

enum class Align : uint8_t { kLeft, kRight };

/** A plain text table: header, a line of dashes, the rows; columns two spaces apart, no space at line ends. Columns
 * beyond `alignment` are flush left. Widths count Unicode code points. Throws Error when a row has another number of
 * cells than the header. */
std::string format_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                         const std::vector<Align>& alignment = {});

/** 1234567 → "1,234,567" */
std::string format_count(int64_t count);

/** Seconds → "0.42s", "7.3s", "1m 23s", "2h 05m", "3d 04h"; "?" for what is negative or not finite. */
std::string format_duration(double seconds);

/** 1536 → "1.5 KiB" */
std::string format_bytes(uint64_t bytes);

/** Number of code points of UTF-8 text. */
size_t text_width(const std::string& text);

}  // namespace gavel
