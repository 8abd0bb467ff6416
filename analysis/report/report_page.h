#pragma once
// A report as one HTML file that needs nothing else.

#include <string>

#include "analysis/report/report_data.h"

namespace kvreplay {

/// The page of analysis/report/page with the data inside. The same data gives the same bytes.
std::string report_page(const ReportData& data);

}  // namespace kvreplay
