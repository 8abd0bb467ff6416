#include "core/cuda/gpu.h"

#include <algorithm>
#include <optional>

#include "core/cuda/pack.h"

namespace kvreplay::cuda {
namespace {

std::size_t memory_of(int index) {
  std::size_t free = 0, total = 0;
  KVREPLAY_CUDA(cudaSetDevice(index));
  KVREPLAY_CUDA(cudaMemGetInfo(&free, &total));
  return free;
}

std::string name_of(int index) {
  cudaDeviceProp properties{};
  KVREPLAY_CUDA(cudaGetDeviceProperties(&properties, index));
  return properties.name;
}

cudaDataType data_type(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return CUDA_R_16F;
    case DType::bfloat16:
      return CUDA_R_16BF;
    case DType::float32:
      break;
  }
  return CUDA_R_32F;
}

// out = scale * a^T b for each of a batch, columns of both being rows of `stride` elements: out [b_rows, a_rows] in
// rows.
void multiply(StreamSlot& slot, DType dtype, std::size_t count, std::size_t stride, double scale,
              DevicePointer<const std::byte> a, std::size_t a_rows, std::size_t a_spacing,
              DevicePointer<const std::byte> b, std::size_t b_rows, std::size_t b_spacing, DevicePointer<float> out) {
  if (count * a_rows * b_rows == 0) return;
  const auto alpha = static_cast<float>(scale);
  const float beta = 0;
  const auto ld = static_cast<int>(stride), m = static_cast<int>(a_rows), n = static_cast<int>(b_rows);
  KVREPLAY_CUDA(cublasGemmStridedBatchedEx(slot.blas(), CUBLAS_OP_T, CUBLAS_OP_N, m, n, ld, &alpha, a.get(),
                                           data_type(dtype), ld, static_cast<long long>(a_spacing * stride), b.get(),
                                           data_type(dtype), ld, static_cast<long long>(b_spacing * stride), &beta,
                                           out.get(), CUDA_R_32F, m, static_cast<long long>(a_rows * b_rows),
                                           static_cast<int>(count), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

}  // namespace

Gpu::Gpu(int index) : name_(name_of(index)), memory_(memory_of(index)), pool_(index), slots_(index, pool_) {}

DeviceStack stack_of(Gpu& gpu, StreamSlot& slot, std::span<const ConstMatrixView> views, Room room, DType wish) {
  PinnedBuffer<std::byte>& staging = slot.staging(room);
  DeviceStack stack{.data = {}, .count = views.size(), .rows = views[0].rows, .cols = views[0].cols};
  const std::optional<DeviceMatrix> first = gpu.held().find(views[0]);
  bool held = first.has_value();
  for (std::size_t i = 1; i < views.size() && held; ++i) {
    const std::optional<DeviceMatrix> next = gpu.held().find(views[i]);
    // Equally far apart on the host, in the same tensor, is equally far apart on the device.
    held = next && next->dtype == first->dtype && views[i].data - views[i - 1].data == views[1].data - views[0].data &&
           views[i].data >= views[0].data;
  }
  if (held) {
    stack.data = first->data;
    stack.dtype = first->dtype;
    stack.spacing =
        views.size() < 2 ? stack.rows : static_cast<std::size_t>(views[1].data - views[0].data) / stack.cols;
    return stack;
  }
  stack.spacing = stack.rows;
  for (stack.dtype = wish;; stack.dtype = DType::float32) {
    const std::size_t bytes = stack.rows * stack.stride() * size_of(stack.dtype);
    staging.reserve_discard(views.size() * bytes);
    bool exact = true;
    for (std::size_t i = 0; i < views.size() && exact; ++i)
      exact = pack_rows(views[i], stack.rows, stack.dtype, staging.data() + i * bytes);
    if (!exact) continue;
    const DevicePointer<std::byte> data = slot.room<std::byte>(room, views.size() * bytes);
    slot.upload(data, staging, views.size() * bytes);
    stack.data = data;
    return stack;
  }
}

DeviceStack widened(StreamSlot& slot, const DeviceStack& stack, DevicePointer<float> to) {
  DeviceStack wide = stack;
  wide.dtype = DType::float32;
  wide.spacing = stack.rows;
  wide.data = DevicePointer<const std::byte>(reinterpret_cast<const std::byte*>(to.get()));
  const std::size_t size = stack.rows * stack.stride();
  for (std::size_t i = 0; i < stack.count; ++i)
    KVREPLAY_CUDA(widen((stack.data + i * stack.spacing * stack.stride() * size_of(stack.dtype)).get(), stack.dtype,
                        size, (to + i * size).get(), slot.stream()));
  return wide;
}

SeenKeys seen_keys(const AttentionRule& rule, std::span<const std::size_t> positions, std::size_t n_lanes,
                   Range key_range) {
  SeenKeys seen;
  const auto key_at = [&](std::size_t position) {
    return static_cast<std::int32_t>(position) - static_cast<std::int32_t>(key_range.begin);
  };
  for (std::size_t l = 0; l < n_lanes; ++l) {
    const std::size_t position = positions[std::min(l, positions.size() - 1)];
    seen.first.push_back(key_at(std::max(rule.first_visible(position), key_range.begin)));
    seen.last.push_back(key_at(std::min(position + 1, key_range.end)) - 1);
  }
  return seen;
}

void multiply_keys_queries(StreamSlot& slot, const DeviceStack& keys, std::size_t first_key, std::size_t n_keys,
                           DevicePointer<const std::byte> queries, std::size_t n_columns, double scale,
                           DevicePointer<float> logits) {
  multiply(slot, keys.dtype, keys.count, keys.stride(), scale, queries, n_columns, n_columns,
           keys.data + first_key * keys.stride() * size_of(keys.dtype), n_keys, keys.spacing, logits);
}

void multiply_queries_keys(StreamSlot& slot, const DeviceStack& keys, DevicePointer<const std::byte> queries,
                           std::size_t n_columns, double scale, DevicePointer<float> logits) {
  multiply(slot, keys.dtype, keys.count, keys.stride(), scale, keys.data, keys.rows, keys.spacing, queries, n_columns,
           n_columns, logits);
}

}  // namespace kvreplay::cuda
