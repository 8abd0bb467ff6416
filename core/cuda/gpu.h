#pragma once
// One device in use: its memory, its stream slots, the layers that it holds.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/cuda/held_layers.h"
#include "core/cuda/stream_slot.h"
#include "core/engine/backend.h"

namespace kvreplay::cuda {

class Gpu {
 public:
  /// Throws DeviceError when the device does not work.
  explicit Gpu(int index);

  const std::string& name() const { return name_; }
  DevicePool& pool() { return pool_; }
  StreamSlots& slots() { return slots_; }
  HeldLayers& held() { return held_; }
  /// Bytes that one slot may use for what it can make smaller. What layers take is left aside.
  std::size_t slot_memory() const { return memory_ / 2 / StreamSlots::kAtOnce; }

 private:
  std::string name_;
  std::size_t memory_ = 0;
  DevicePool pool_;
  StreamSlots slots_;
  HeldLayers held_;
};

/// Matrices of the same shape on a device, equally far apart.
struct DeviceStack {
  DevicePointer<const std::byte> data;
  DType dtype = DType::float32;
  std::size_t count = 0, rows = 0, cols = 0;
  std::size_t spacing = 0;  ///< rows from one to the next

  std::size_t stride() const { return padded(cols); }
};

/// Host views as a stack: where they lie if they are held so, else sent, in `wish` where that is exact.
DeviceStack stack_of(Gpu& gpu, StreamSlot& slot, std::span<const ConstMatrixView> views, Room room, DType wish);
/// The same stack in float32, rows contiguous.
DeviceStack widened(StreamSlot& slot, const DeviceStack& stack, DevicePointer<float> to);

/// For each query, the first and the last row of the keys [first_key, first_key + n_keys) that it sees; lanes beyond
/// the last query repeat it.
struct SeenKeys {
  std::vector<std::int32_t> first, last;
};
SeenKeys seen_keys(const AttentionRule& rule, std::span<const std::size_t> positions, std::size_t n_lanes,
                   Range key_range);

/// logits = scale * keys queries^T for each of a stack, [count, n_keys, n_columns] float32.
/// \param queries  [count, n_columns, stride], contiguous
/// \param keys     rows [first_key, first_key + n_keys) of each are taken
void multiply_keys_queries(StreamSlot& slot, const DeviceStack& keys, std::size_t first_key, std::size_t n_keys,
                           DevicePointer<const std::byte> queries, std::size_t n_columns, double scale,
                           DevicePointer<float> logits);
/// logits = scale * queries keys^T, [count, n_columns, n_keys].
void multiply_queries_keys(StreamSlot& slot, const DeviceStack& keys, DevicePointer<const std::byte> queries,
                           std::size_t n_columns, double scale, DevicePointer<float> logits);

}  // namespace kvreplay::cuda
