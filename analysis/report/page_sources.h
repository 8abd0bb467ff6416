#pragma once
// The files of analysis/report/page, put into the program by CMake.

#include <string_view>

namespace kvreplay::page {

std::string_view form();    ///< template.html
std::string_view style();   ///< report.css
std::string_view script();  ///< all scripts in their order

}  // namespace kvreplay::page
