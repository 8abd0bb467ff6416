#pragma once
// The rules of traces/SCHEMA.md that reader and writer share: names of objects, and what a TraceInfo must obey.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/data/trace_info.h"

namespace kvreplay::trace_rules {

inline constexpr const char* kFormat = "kvreplay-trace";
inline constexpr int kMajorVersion = 1;
inline constexpr const char* kVersion = "1.2";

/// What the sketches of a sensitivity are: z ~ N(0, diag p - p p^T) at the targets' logits.
inline constexpr const char* kGaussianFisher = "gaussian-fisher";

/// Bounds that keep absurd files from reaching arithmetic; far above any model.
inline constexpr std::int64_t kMaxCount = 1 << 20;  ///< layers, heads, hidden_size
inline constexpr std::int64_t kMaxSketches = 4096;
inline constexpr std::int64_t kMaxDim = 1024;  ///< head_dim, value_dim

std::string layer_name(std::size_t index);        ///< "07"
std::string sample_name(std::size_t index);       ///< "0012"
std::string model_layer_path(std::size_t index);  ///< "/model/layers/07"
std::string sample_path(std::size_t index);       ///< "/samples/0012"
std::string sample_layer_path(std::size_t sample, std::size_t layer_index);
/// "/samples/0012/probes/prompt/layers/07"
std::string probe_layer_path(std::size_t sample, std::string_view compression_point, std::size_t layer_index);

/// "/samples/0012/sensitivity/prompt"
std::string sensitivity_path(std::size_t sample, std::string_view compression_point);
std::string sensitivity_layer_path(std::size_t sample, std::string_view compression_point, std::size_t layer_index);

std::string_view name_of(RopeLayout layout);
/// Throws hdf5::Violation listing the known names.
RopeLayout rope_layout_named(const std::string& name);

// Throw hdf5::Violation naming the object, what is expected and what was found.
void check_model(const TraceInfo& info);  ///< and its layers
void check_sample(std::size_t index, const SampleInfo& sample);
void check(const TraceInfo& info);  ///< all of it

}  // namespace kvreplay::trace_rules
