#pragma once
// What `inspect` says of a trace.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/data/trace_info.h"

namespace kvreplay {

/// What can be told of a trace file beside its own words.
struct TraceFileFacts {
  std::string path;
  std::string format_version;
  std::string fingerprint;
  std::uintmax_t bytes = 0;
};

std::string describe_trace(const TraceFileFacts& file, const TraceInfo& trace);
nlohmann::ordered_json trace_json(const TraceFileFacts& file, const TraceInfo& trace);

/// Recorded queries at positions from a compression point on: those that a replay is judged by.
std::size_t n_evaluation_queries(const SampleInfo& sample, std::size_t position);
/// Recorded queries directly before a compression point without a gap: the longest observation window.
std::size_t n_window_queries(const SampleInfo& sample, std::size_t position);

/// "1.5 MB"
std::string bytes_text(std::uintmax_t bytes);
/// Ascending numbers as ranges: "0-3,5".
std::string index_list_text(const std::vector<std::size_t>& indices);

}  // namespace kvreplay
