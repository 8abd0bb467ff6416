#pragma once
// What one host thread needs to put a device to work: a stream, library handles and scratch memory. A device has a few
// slots, so that one unit's transfers overlap with another's kernels.

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <type_traits>
#include <vector>

#include "core/cuda/check.h"
#include "core/cuda/device_memory.h"

namespace kvreplay::cuda {

struct DestroyStream {
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
struct DestroyBlas {
  void operator()(cublasHandle_t handle) const noexcept { cublasDestroy(handle); }
};
struct DestroySolver {
  void operator()(cusolverDnHandle_t handle) const noexcept { cusolverDnDestroy(handle); }
};
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;
using BlasHandle = std::unique_ptr<std::remove_pointer_t<cublasHandle_t>, DestroyBlas>;
using SolverHandle = std::unique_ptr<std::remove_pointer_t<cusolverDnHandle_t>, DestroySolver>;

/// What scratch memory of a slot is for.
enum class Room {
  queries,    ///< packed for a product
  keys,       ///< of the host, uploaded for one call
  values,     ///< of the host, uploaded for one call
  wide,       ///< what is held in 16 bits, in float32
  tables,     ///< positions, segments, walks
  weights,    ///< logits, then weights
  maxima,     ///< of columns, chunk by chunk of keys
  base,       ///< sums over what no policy changes
  partials,   ///< sums over segments and cells
  reference,  ///< full-cache outputs
  squares,    ///< squared norms of errors
  recall,
  errors,
  columns,  ///< column sums of attention
  left,     ///< float64 rows
  right,
  products,
  sides,
  pointers,
  info,
  n_rooms
};

class StreamSlot;

/// Small arrays for kernels, sent together.
class Tables {
 public:
  /// Appends an array.
  /// \return for at()
  template <typename T>
  std::size_t add(std::span<const T> values) {
    const std::size_t begin = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(begin + values.size_bytes());
    if (!values.empty()) std::memcpy(bytes_.data() + begin, values.data(), values.size_bytes());
    return begin;
  }
  void send(StreamSlot& slot);
  template <typename T>
  const T* at(std::size_t begin) const {
    return reinterpret_cast<const T*>(device_.get() + begin);
  }
  void clear() { bytes_.clear(); }

 private:
  std::vector<std::byte> bytes_;
  DevicePointer<std::byte> device_;
};

class StreamSlot {
 public:
  StreamSlot(int device, DevicePool& pool);

  cudaStream_t stream() const { return stream_.get(); }
  cublasHandle_t blas() const { return blas_.get(); }
  /// Made when it is first asked for: it takes a while.
  cusolverDnHandle_t solver();

  /// Scratch for `n` elements; what was there is lost when it has to grow.
  template <typename T>
  DevicePointer<T> room(Room purpose, std::size_t n) {
    DeviceBuffer<std::byte>& buffer = rooms_[static_cast<std::size_t>(purpose)];
    buffer.reserve_discard(n * sizeof(T));
    return DevicePointer<T>(reinterpret_cast<T*>(buffer.data().get()));
  }

  /// Pinned memory for what goes to a room.
  PinnedBuffer<std::byte>& staging(Room purpose) { return staging_[static_cast<std::size_t>(purpose)]; }
  /// Empty tables. Waits until the device has read the tables before them.
  Tables& new_tables();

  /// Enqueues copies. Those of ordinary memory go by way of pinned memory of the slot: `from` may go at once, `to` is
  /// filled by wait().
  template <typename T>
  void upload(DevicePointer<T> to, std::span<const T> from) {
    if (from.empty()) return;
    std::byte* const stage = staged(from.size_bytes());
    std::memcpy(stage, from.data(), from.size_bytes());
    copy(to.get(), stage, from.size_bytes(), cudaMemcpyHostToDevice);
  }
  template <typename T>
  void download(std::span<T> to, DevicePointer<T> from) {
    if (to.empty()) return;
    std::byte* const stage = staged(to.size_bytes());
    copy(stage, from.get(), to.size_bytes(), cudaMemcpyDeviceToHost);
    arrivals_.push_back({to.data(), stage, to.size_bytes()});
  }
  template <typename T>
  void upload(DevicePointer<T> to, const PinnedBuffer<T>& from, std::size_t n) {
    copy(to.get(), from.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  template <typename T>
  void download(PinnedBuffer<T>& to, std::size_t n, DevicePointer<T> from) {
    copy(to.data(), from.get(), n * sizeof(T), cudaMemcpyDeviceToHost);
  }
  template <typename T>
  void clear(DevicePointer<T> to, std::size_t n) {
    if (n > 0) KVREPLAY_CUDA(cudaMemsetAsync(to.get(), 0, n * sizeof(T), stream()));
  }
  /// Until all that was enqueued is done, and downloads have arrived. Throws DeviceError for what failed meanwhile.
  void wait();
  /// The same after a failure: what was under way is dropped.
  void settle() noexcept;

 private:
  struct Arrival {
    void* to;
    const std::byte* stage;
    std::size_t bytes;
  };

  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
  // Pinned memory until the slot has waited.
  std::byte* staged(std::size_t bytes);

  Stream stream_;
  BlasHandle blas_;
  SolverHandle solver_;
  static constexpr auto kRooms = static_cast<std::size_t>(Room::n_rooms);
  std::array<DeviceBuffer<std::byte>, kRooms> rooms_;
  std::array<PinnedBuffer<std::byte>, kRooms> staging_;
  Tables tables_;
  std::vector<PinnedBuffer<std::byte>> stages_;
  std::size_t stage_ = 0, stage_used_ = 0;  // of stages_, and bytes of that one
  std::vector<Arrival> arrivals_;
};

/// The slots of one device. Whoever holds one must not wait for other host threads, parallel_for() included: they may
/// be waiting for a slot.
class StreamSlots {
 public:
  StreamSlots(int device, DevicePool& pool) : device_(device), pool_(pool) {}

  class Lease {
   public:
    explicit Lease(StreamSlots& slots) : slots_(slots), slot_(slots.take()) {}
    ~Lease() { slots_.give(std::move(slot_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    StreamSlot& operator*() const { return *slot_; }
    StreamSlot* operator->() const { return slot_.get(); }

   private:
    StreamSlots& slots_;
    std::unique_ptr<StreamSlot> slot_;
  };

  /// How many units are at work at a time: one computes while another is sent and a third is fetched.
  static constexpr std::size_t kAtOnce = 3;

 private:
  std::unique_ptr<StreamSlot> take();
  void give(std::unique_ptr<StreamSlot> slot) noexcept;

  int device_;
  DevicePool& pool_;
  std::mutex mutex_;
  std::condition_variable given_;
  std::vector<std::unique_ptr<StreamSlot>> idle_;
  std::size_t n_taken_ = 0;
};

}  // namespace kvreplay::cuda
