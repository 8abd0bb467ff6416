#include "core/cuda/held_layers.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <vector>

#include "core/base/parallel.h"

namespace kvreplay::cuda {
namespace {

// Elements that are converted at a time: they stay in the first-level cache for the way back.
constexpr std::size_t kBlock = 2048;

bool pack_elements(std::span<const float> from, DType dtype, std::byte* out) {
  if (dtype == DType::float32) {
    std::memcpy(out, from.data(), from.size_bytes());
    return true;
  }
  float back[kBlock];
  for (std::size_t at = 0; at < from.size(); at += kBlock) {
    const std::span<const float> block = from.subspan(at, std::min(kBlock, from.size() - at));
    const std::span<std::byte> packed(out + at * size_of(dtype), block.size() * size_of(dtype));
    from_float32(block, dtype, packed);
    to_float32(packed, dtype, {back, block.size()});
    if (std::memcmp(back, block.data(), block.size_bytes()) != 0) return false;
  }
  return true;
}

bool pack_all(const std::array<const Tensor*, 3>& tensors, DType dtype, PackedLayer& packed) {
  packed.dtype = dtype;
  std::size_t bytes = 0;
  for (std::size_t t = 0; t < 3; ++t) {
    packed.begins[t] = bytes;
    const std::size_t size = tensors[t]->count() * tensors[t]->rows() * padded(tensors[t]->cols()) * size_of(dtype);
    bytes += (size + 255) / 256 * 256;
  }
  packed.begins[3] = bytes;
  packed.bytes.reserve_discard(bytes);
  struct Slab {
    ConstMatrixView rows;
    std::byte* out;
  };
  std::vector<Slab> slabs;
  for (std::size_t t = 0; t < 3; ++t) {
    const std::size_t bytes_of_matrix = tensors[t]->rows() * padded(tensors[t]->cols()) * size_of(dtype);
    for (std::size_t i = 0; i < tensors[t]->count(); ++i)
      slabs.push_back({tensors[t]->matrix(i), packed.bytes.data() + packed.begins[t] + i * bytes_of_matrix});
  }
  std::atomic<bool> exact = true;
  parallel_for(slabs.size(), [&](std::size_t i) {
    if (exact && !pack_rows(slabs[i].rows, slabs[i].rows.rows, dtype, slabs[i].out)) exact = false;
  });
  return exact;
}

}  // namespace

bool pack_rows(ConstMatrixView rows, std::size_t n_rows, DType dtype, std::byte* out) {
  const std::size_t used = rows.cols * size_of(dtype), row_bytes = padded(rows.cols) * size_of(dtype);
  bool exact = true;
  if (used == row_bytes && rows.stride == rows.cols) {
    exact = rows.rows == 0 || pack_elements({rows.data, rows.rows * rows.cols}, dtype, out);
  } else {
    for (std::size_t r = 0; r < rows.rows && exact; ++r) {
      exact = pack_elements(rows.row(r), dtype, out + r * row_bytes);
      std::memset(out + r * row_bytes + used, 0, row_bytes - used);
    }
  }
  std::memset(out + rows.rows * row_bytes, 0, (n_rows - rows.rows) * row_bytes);
  return exact;
}

void pack_layer(const LayerData& data, DType dtype, PackedLayer& packed) {
  const std::array<const Tensor*, 3> tensors{&data.queries, &data.keys, &data.values};
  if (!pack_all(tensors, dtype, packed)) pack_all(tensors, DType::float32, packed);
}

std::shared_ptr<const HeldLayer> HeldLayers::find(const LayerData& data) const {
  const std::lock_guard lock(mutex_);
  return find_locked(data.keys.values().data());
}

std::shared_ptr<const HeldLayer> HeldLayers::find_locked(const float* keys) const {
  // What is in the map is there, be it on its way out. A pointer that nobody wants is not taken: it might be the last
  // one, and go under the lock.
  for (const auto& [address, layer] : layers_)
    if (address->keys.host == keys)
      if (std::shared_ptr<const HeldLayer> held = layer.lock()) return held;
  return nullptr;
}

std::shared_ptr<const HeldLayer> HeldLayers::add(std::unique_ptr<const HeldLayer> layer) {
  // Taken out before its memory goes: whoever finds it later than that finds nothing.
  const auto take_out = [this](const HeldLayer* gone) {
    remove(*gone);
    delete gone;
  };
  // Made before the lock is taken: should another's be found, this one is taken out under a lock of its own.
  const std::shared_ptr<const HeldLayer> added(layer.release(), take_out);
  const std::lock_guard lock(mutex_);
  if (std::shared_ptr<const HeldLayer> held = find_locked(added->keys.host)) return held;
  layers_.emplace(added.get(), added);
  for (const HeldTensor* tensor : {&added->queries, &added->keys, &added->values})
    if (tensor->host != nullptr) tensors_.emplace(tensor->host, tensor);
  return added;
}

void HeldLayers::remove(const HeldLayer& layer) {
  const std::lock_guard lock(mutex_);
  layers_.erase(&layer);
  std::erase_if(tensors_, [&](const auto& entry) {
    return entry.second == &layer.queries || entry.second == &layer.keys || entry.second == &layer.values;
  });
}

void HeldLayers::add(const HeldTensor& tensor) {
  const std::lock_guard lock(mutex_);
  if (tensor.host != nullptr) tensors_.emplace(tensor.host, &tensor);
}

void HeldLayers::remove(const HeldTensor& tensor) {
  const std::lock_guard lock(mutex_);
  std::erase_if(tensors_, [&](const auto& entry) { return entry.second == &tensor; });
}

std::size_t HeldLayers::size() const {
  const std::lock_guard lock(mutex_);
  return layers_.size();
}

std::optional<DeviceMatrix> HeldLayers::find(ConstMatrixView rows) const {
  const std::lock_guard lock(mutex_);
  auto it = tensors_.upper_bound(rows.data);
  if (rows.data == nullptr || it == tensors_.begin()) return std::nullopt;
  const HeldTensor& tensor = *(--it)->second;
  const auto at = static_cast<std::size_t>(rows.data - tensor.host);
  const bool whole_rows = rows.cols == tensor.cols && rows.stride == tensor.cols && at % tensor.cols == 0;
  const std::size_t first = tensor.cols == 0 ? 0 : at / tensor.cols;
  if (!whole_rows || first + rows.rows > tensor.count * tensor.rows) return std::nullopt;
  return DeviceMatrix{.data = tensor.device + first * tensor.stride() * size_of(tensor.dtype),
                      .dtype = tensor.dtype,
                      .rows = rows.rows,
                      .cols = rows.cols};
}

}  // namespace kvreplay::cuda
