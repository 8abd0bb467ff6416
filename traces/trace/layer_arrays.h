#pragma once
// The arrays that a trace holds of each layer, a row each: what reader, writer, checks and completeness go by. Private
// to traces/.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/data/trace_info.h"
#include "traces/hdf5/hdf5.h"

namespace kvreplay::trace_schema {

/// Whose group an array stands in.
enum class ArrayOwner { model, sample, probe, sensitivity };

enum class ArrayElement {
  tensor,   ///< TraceInfo::dtype, the same for all of a file
  weights,  ///< written as the tensors are, read as any DType
  float32,  ///< read as any real numbers
  int8,
};

/// One layer of one owner.
struct ArrayPlace {
  const ModelInfo* model = nullptr;
  const LayerInfo* layer = nullptr;
  std::size_t sample_index = 0;
  const SampleInfo* sample = nullptr;
  const ProbeInfo* probe = nullptr;
  const SensitivityInfo* sensitivity = nullptr;
};

struct LayerArray {
  const char* name;
  ArrayOwner owner;
  ArrayElement element;
  bool in_chunks;                       ///< written a block of rows at a time, and compressible
  bool (*recorded)(const ArrayPlace&);  ///< nullptr: wherever its owner is
  std::vector<hsize_t> (*dims)(const ArrayPlace&);
};

/// All of them, by owner.
std::span<const LayerArray> layer_arrays();
const LayerArray& layer_array(ArrayOwner owner, std::string_view name);

/// "/samples/0000/layers/07": the group that a place stands for.
std::string group_of(ArrayOwner owner, const ArrayPlace& place);
std::string path_of(const LayerArray& array, const ArrayPlace& place);

// Places of a trace, by indices into info.samples and info.layers.
ArrayPlace model_place(const TraceInfo& info, std::size_t layer);
ArrayPlace sample_place(const TraceInfo& info, std::size_t sample, std::size_t layer);

/// Calls use(array, place) for every array that `info` says is recorded.
void for_each_layer_array(const TraceInfo& info, const std::function<void(const LayerArray&, const ArrayPlace&)>& use);

}  // namespace kvreplay::trace_schema
