#include "analysis/report/report_page.h"

#include <map>
#include <string_view>

#include "analysis/report/page_sources.h"

namespace kvreplay {
namespace {

/// JSON inside an element of a page: nothing in it may end that element.
std::string json_text(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char letter : text) {
    if (letter == '<')
      safe += "\\u003c";
    else
      safe += letter;
  }
  return safe;
}

}  // namespace

std::string report_page(const ReportData& data) {
  const std::map<std::string_view, std::string> parts = {
      {"generator", "kvreplay " KVREPLAY_VERSION},
      {"style", std::string(page::style())},
      {"script", std::string(page::script())},
      {"meta", json_text(data.meta)},
      {"arrays", data.arrays.packed()},
      {"token_arrays", data.token_arrays.empty() ? "" : data.token_arrays.packed()}};
  // Once through: what is put in is not looked through again.
  const std::string_view form = page::form();
  std::string page;
  for (std::size_t at = 0;;) {
    const std::size_t begin = form.find("{{", at), end = form.find("}}", begin);
    if (begin == std::string_view::npos || end == std::string_view::npos) return page += form.substr(at);
    page += form.substr(at, begin - at);
    page += parts.at(form.substr(begin + 2, end - begin - 2));
    at = end + 2;
  }
}

}  // namespace kvreplay
