#pragma once
// Reads traces (docs/formats/trace.md). Validates everything before it allocates.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/layer_data.h"
#include "core/data/trace_info.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// What of a layer is wanted besides keys and values.
struct LayerParts {
  std::size_t first_query = 0;  ///< the recorded queries from this position on
  bool output_projection = true;
  bool block_cosine = true;
};

/// An open trace file. Opening checks the whole structure: attributes, shapes, dtypes, filters, and that the file holds
/// as many bytes as its datasets declare. Every failure is an InputError naming file, object, expected and found.
class TraceReader {
 public:
  explicit TraceReader(InputFile file);
  ~TraceReader();
  TraceReader(TraceReader&&) noexcept;
  TraceReader& operator=(TraceReader&&) noexcept;

  const std::filesystem::path& path() const;
  const TraceInfo& info() const;
  /// Memory that info() and the structure of the file take, about.
  std::uint64_t info_bytes() const;

  /// The tensors of one layer, as float32. Safe to call from several threads.
  /// \param sample  index into info().samples
  /// \param layer   index into info().layers (not the model's layer number)
  /// Throws InputError when a value is NaN or infinite, naming dataset, head, token and channel.
  /// \param used  of a layer that is done with: its memory is taken again where the shapes are the same, because memory
  ///              that was never written to costs more time than reading
  LayerData read_layer(std::size_t sample, std::size_t layer, const LayerParts& parts = {}, LayerData used = {}) const;

  /// Asks the system to fetch from the disk what read_layer() would read of the big tensors; does not wait.
  void prefetch_layer(std::size_t sample, std::size_t layer, const LayerParts& parts = {}) const;

  /// The probe of one compression point in one layer, as float32; nothing when the trace has none for that point.
  /// Separate from read_layer() because it may be as large as the layer and few policies look at it.
  std::optional<LayerProbes> read_probes(std::size_t sample, std::size_t layer,
                                         std::string_view compression_point) const;

  /// The sensitivities of one compression point in one layer; nothing when the trace has none for that point. Throws
  /// InputError when a scale is negative, NaN or infinite, naming dataset, sketch and query.
  std::optional<LayerSensitivity> read_sensitivity(std::size_t sample, std::size_t layer,
                                                   std::string_view compression_point) const;

  /// Which recording this is, as 32 hex digits: a hash of the file's size and of samples spread over its bytes. It
  /// tells recordings apart at a cost that does not grow with the file; it is no proof that every byte is intact.
  std::string fingerprint() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvreplay
