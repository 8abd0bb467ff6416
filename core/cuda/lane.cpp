#include "core/cuda/lane.h"

namespace kvreplay::cuda {

void Tables::send(Lane& lane) {
  device_ = lane.room<std::byte>(Room::tables, bytes_.size());
  lane.upload(device_, std::span<const std::byte>(bytes_));
}

Lane::Lane(int device, DevicePool& pool) {
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

cusolverDnHandle_t Lane::solver() {
  if (solver_ == nullptr) {
    cusolverDnHandle_t solver = nullptr;
    KVREPLAY_CUDA(cusolverDnCreate(&solver));
    solver_.reset(solver);
    KVREPLAY_CUDA(cusolverDnSetStream(solver, stream()));
  }
  return solver_.get();
}

Tables& Lane::new_tables() {
  wait();
  tables_.clear();
  return tables_;
}

void Lane::wait() { KVREPLAY_CUDA(cudaStreamSynchronize(stream())); }

std::unique_ptr<Lane> Lanes::take() {
  std::unique_lock lock(mutex_);
  given_.wait(lock, [&] { return n_taken_ < kAtOnce; });
  std::unique_ptr<Lane> lane;
  if (idle_.empty()) {
    lane = std::make_unique<Lane>(device_, pool_);
  } else {
    lane = std::move(idle_.back());
    idle_.pop_back();
    KVREPLAY_CUDA(cudaSetDevice(device_));
  }
  ++n_taken_;
  return lane;
}

void Lanes::give(std::unique_ptr<Lane> lane) noexcept {
  // After an exception work may still be under way that uses the lane's memory, or the host's.
  cudaStreamSynchronize(lane->stream());
  const std::lock_guard lock(mutex_);
  --n_taken_;
  try {
    idle_.push_back(std::move(lane));
  } catch (...) {
  }
  given_.notify_one();
}

}  // namespace kvreplay::cuda
