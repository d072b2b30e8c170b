#pragma once
#include <string>
#include <vector>

#include "report/chart.h"

namespace gavel::html {

// Parts of an HTML report. Arguments called `…_html` and cells of tables are taken as markup: escape what comes from
// data with escape_markup() or cell().

/** Text as a table cell; long texts may break anywhere. */
std::string cell(const std::string& text);
/** A number with so many decimals, from 1,000 on without any and with its thousands separated. "–" when it is not
 * finite. */
std::string number(double value, int decimals);

enum class Columns : uint8_t { kNumbers, kText };
/** The first column is a name; the others are numbers (flush right) or texts. No header row when `header` is
 * empty. */
std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                  Columns columns = Columns::kNumbers);

std::string card(const std::string& content_html);
std::string section(const std::string& title_html, const std::string& content_html);

/** The whole page. With `reloads` a browser loads it again every half minute. */
std::string page(const std::string& title, const std::string& under_title_html, const std::string& body_html,
                 bool reloads);

}  // namespace gavel::html
