#include "core/cuda/stream_slot.h"

#include <algorithm>
#include <utility>

namespace kvreplay::cuda {

void Tables::send(StreamSlot& slot) {
  device_ = slot.room<std::byte>(Room::tables, bytes_.size());
  slot.upload(device_, std::span<const std::byte>(bytes_));
}

StreamSlot::StreamSlot(int device, DevicePool& pool) {
  KVREPLAY_CUDA(cudaSetDevice(device));
  for (DeviceBuffer<std::byte>& room : rooms_) room = DeviceBuffer<std::byte>(pool);
  cudaStream_t stream = nullptr;
  KVREPLAY_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  stream_.reset(stream);
  cublasHandle_t blas = nullptr;
  KVREPLAY_CUDA(cublasCreate(&blas));
  blas_.reset(blas);
  KVREPLAY_CUDA(cublasSetStream(blas, stream));
}

cusolverDnHandle_t StreamSlot::solver() {
  if (solver_ == nullptr) {
    cusolverDnHandle_t handle = nullptr;
    KVREPLAY_CUDA(cusolverDnCreate(&handle));
    SolverHandle solver(handle);
    // Kept only once it works on the slot's stream.
    KVREPLAY_CUDA(cusolverDnSetStream(handle, stream()));
    solver_ = std::move(solver);
  }
  return solver_.get();
}

Tables& StreamSlot::new_tables() {
  wait();
  tables_.clear();
  return tables_;
}

void StreamSlot::wait() {
  KVREPLAY_CUDA(cudaStreamSynchronize(stream()));
  for (const Arrival& arrival : arrivals_) std::memcpy(arrival.to, arrival.stage, arrival.bytes);
  settle();
}

void StreamSlot::settle() noexcept {
  cudaStreamSynchronize(stream());
  arrivals_.clear();
  stage_ = stage_used_ = 0;
}

void StreamSlot::copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (bytes > 0) KVREPLAY_CUDA(cudaMemcpyAsync(to, from, bytes, kind, stream()));
}

std::byte* StreamSlot::staged(std::size_t bytes) {
  constexpr std::size_t kStage = 4 << 20;
  bytes = (bytes + 63) / 64 * 64;
  while (stage_ < stages_.size() && stages_[stage_].size() - stage_used_ < bytes) {
    ++stage_;
    stage_used_ = 0;
  }
  if (stage_ == stages_.size()) stages_.emplace_back().reserve_discard(std::max(kStage, bytes));
  std::byte* const stage = stages_[stage_].data() + stage_used_;
  stage_used_ += bytes;
  return stage;
}

std::unique_ptr<StreamSlot> StreamSlots::take() {
  std::unique_lock lock(mutex_);
  given_.wait(lock, [&] { return n_taken_ < kAtOnce; });
  std::unique_ptr<StreamSlot> slot;
  if (idle_.empty()) {
    slot = std::make_unique<StreamSlot>(device_, pool_);
  } else {
    slot = std::move(idle_.back());
    idle_.pop_back();
    KVREPLAY_CUDA(cudaSetDevice(device_));
  }
  ++n_taken_;
  return slot;
}

void StreamSlots::give(std::unique_ptr<StreamSlot> slot) noexcept {
  // After an exception work may still be under way that uses the slot's memory, or the host's.
  slot->settle();
  const std::lock_guard lock(mutex_);
  --n_taken_;
  try {
    idle_.push_back(std::move(slot));
  } catch (...) {
  }
  given_.notify_one();
}

}  // namespace kvreplay::cuda
