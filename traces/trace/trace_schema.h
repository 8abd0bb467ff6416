#pragma once
// The rules of docs/formats/trace.md that reader and writer share: names of objects, and what a TraceInfo must obey.
// What a sample and a layer hold stands in sample_objects.h and layer_arrays.h, a row each.

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/data/trace_info.h"
#include "traces/hdf5/hdf5.h"

namespace kvreplay::trace_schema {

inline constexpr const char* kFormat = "kvreplay-trace";
inline constexpr int kMajorVersion = 1;

/// What the sketches of a sensitivity are: z ~ N(0, diag p - p p^T) at the targets' logits.
inline constexpr const char* kGaussianFisher = "gaussian-fisher";

/// Bounds that keep absurd files from reaching arithmetic; far above any model.
inline constexpr std::int64_t kMaxCount = 1 << 20;   ///< layers, heads, hidden_size
inline constexpr std::int64_t kMaxTokens = 1 << 27;  ///< of a sample: what is said of each is read whole
inline constexpr std::int64_t kMaxSketches = 4096;
inline constexpr std::int64_t kMaxDim = 1024;  ///< head_dim, value_dim

/// The sizes of a model: root attributes, at least 1.
struct ModelCount {
  const char* name;
  std::size_t ModelInfo::*value;
  std::int64_t max;
};
inline constexpr std::array kModelCounts{ModelCount{"n_layers", &ModelInfo::n_layers, kMaxCount},
                                         ModelCount{"n_q_heads", &ModelInfo::n_q_heads, kMaxCount},
                                         ModelCount{"n_kv_heads", &ModelInfo::n_kv_heads, kMaxCount},
                                         ModelCount{"head_dim", &ModelInfo::head_dim, kMaxDim},
                                         ModelCount{"value_dim", &ModelInfo::value_dim, kMaxDim},
                                         ModelCount{"hidden_size", &ModelInfo::hidden_size, kMaxCount}};

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

/// What a trace may call things: text that prints (core/base/printable.h). Throws hdf5::Violation.
/// \param place  that holds the name, for the message
void check_name(const std::string& place, std::string_view name);

std::string_view name_of(RopeLayout layout);
/// Throws hdf5::Violation listing the known names.
RopeLayout rope_layout_named(const std::string& name);

/// The least version of the format that can say this: older readers read what they can.
const char* version_of(const TraceInfo& info);

/// Throws hdf5::Violation with what is wrong.
template <typename... Args>
[[noreturn]] void violate(fmt::format_string<Args...> text, Args&&... args) {
  throw hdf5::Violation(fmt::format(text, std::forward<Args>(args)...));
}

/// Throws hdf5::Violation for a negative number found at `place`.
std::size_t as_size(std::int64_t value, const std::string& place);

// Throw hdf5::Violation naming the object, what is expected and what was found.
void check_model(const TraceInfo& info);  ///< and its layers
void check_sample(std::size_t index, const SampleInfo& sample);
void check(const TraceInfo& info);  ///< all of it

}  // namespace kvreplay::trace_schema
