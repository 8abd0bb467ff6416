#pragma once
// Layers that lie on a device, and the way from the host's views of them to their addresses there.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "core/base/dtype.h"
#include "core/cuda/device_memory.h"
#include "core/data/layer_data.h"

namespace kvreplay::cuda {

/// Rows on a device are filled up with zeros to a multiple of this many elements: every row begins on 16 bytes.
inline constexpr std::size_t kRowStep = 8;
inline std::size_t padded(std::size_t cols) { return (cols + kRowStep - 1) / kRowStep * kRowStep; }

/// A matrix on a device, [rows, padded(cols)].
struct DeviceMatrix {
  DevicePointer<const std::byte> data;
  DType dtype = DType::float32;
  std::size_t rows = 0;
  std::size_t cols = 0;

  std::size_t stride() const { return padded(cols); }
};

/// One tensor [count, rows, cols] of a layer.
struct HeldTensor {
  const float* host = nullptr;
  std::size_t count = 0, rows = 0, cols = 0;
  DType dtype = DType::float32;
  DevicePointer<const std::byte> device;

  std::size_t stride() const { return padded(cols); }
  std::size_t matrix_bytes() const { return rows * stride() * size_of(dtype); }
  DevicePointer<const std::byte> matrix(std::size_t i) const { return device + i * matrix_bytes(); }
};

struct HeldLayer {
  HeldTensor queries, keys, values;
  DeviceBuffer<std::byte> memory;
};

/// The bytes of a layer as a device holds it, and where its tensors begin in them.
struct PackedLayer {
  PinnedBuffer<std::byte> bytes;
  std::array<std::size_t, 4> begins = {};  ///< queries, keys, values, end
  DType dtype = DType::float32;
};

/// Packs queries, keys and values in `dtype` if all of them are exact in it, else in float32.
void pack_layer(const LayerData& data, DType dtype, PackedLayer& packed);

/// Packs some rows into [n_rows, padded(cols)] of `dtype`, zeros up to n_rows. False where they are not exact in it.
bool pack_rows(ConstMatrixView rows, std::size_t n_rows, DType dtype, std::byte* out);

/// What is held at present. Safe to use from several threads at once. A layer that several hold is there once, and goes
/// with the last of them: nobody's work meets memory that another has given back.
class HeldLayers {
 public:
  /// The layer with this one's keys, if somebody holds it.
  std::shared_ptr<const HeldLayer> find(const LayerData& data) const;
  /// Takes a layer in, or returns the one that another thread has brought meanwhile. Outlives what it returns.
  std::shared_ptr<const HeldLayer> add(std::unique_ptr<const HeldLayer> layer);
  /// A tensor by itself; outlives its stay here too.
  void add(const HeldTensor& tensor);
  void remove(const HeldTensor& tensor);
  std::size_t size() const;

  /// Where these rows lie on the device, if whole rows of a held tensor are meant.
  std::optional<DeviceMatrix> find(ConstMatrixView rows) const;

 private:
  std::shared_ptr<const HeldLayer> find_locked(const float* keys) const;
  void remove(const HeldLayer& layer);

  mutable std::mutex mutex_;
  std::multimap<const float*, const HeldTensor*> tensors_;
  std::map<const HeldLayer*, std::weak_ptr<const HeldLayer>> layers_;
};

}  // namespace kvreplay::cuda
