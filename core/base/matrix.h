#pragma once
// Owning buffers and non-owning row-major views of float32 data.

#include <cassert>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

namespace kvreplay {

/// Uninitialised memory, 64-byte aligned; large pieces on huge pages where the system has them, because walks through a
/// ranking touch a page per token. Throws std::bad_alloc. Given back by std::free().
void* allocate_aligned(std::size_t bytes);

/// An uninitialised, 64-byte aligned array of T: SIMD kernels may use aligned loads at its start.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size)
      : data_(size == 0 ? nullptr : static_cast<T*>(allocate_aligned(size * sizeof(T)))), size_(size) {}

  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }
  std::span<T> span() noexcept { return {data(), size_}; }
  std::span<const T> span() const noexcept { return {data(), size_}; }

  /// Makes room for `size` elements; the content is lost when it has to grow.
  void reserve_discard(std::size_t size) {
    if (size > size_) *this = Buffer(size);
  }

 private:
  struct Free {
    void operator()(T* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

/// A row-major matrix that somebody else owns, float32 [rows, cols], `stride` elements from row to row.
template <typename T>
struct BasicMatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;

  std::span<T> row(std::size_t r) const noexcept {
    assert(r < rows);
    return {data + r * stride, cols};
  }
  T& operator()(std::size_t r, std::size_t c) const noexcept { return data[r * stride + c]; }
  BasicMatrixView rows_between(std::size_t begin, std::size_t end) const noexcept {
    assert(begin <= end && end <= rows);
    return {data + begin * stride, end - begin, cols, stride};
  }
  operator BasicMatrixView<const T>() const noexcept { return {data, rows, cols, stride}; }
};

using MatrixView = BasicMatrixView<float>;
using ConstMatrixView = BasicMatrixView<const float>;

/// An owned float32 array [count, rows, cols]; `matrix(i)` is its i-th [rows, cols] slab.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::size_t count, std::size_t rows, std::size_t cols)
      : buffer_(count * rows * cols), count_(count), rows_(rows), cols_(cols) {}

  std::size_t count() const noexcept { return count_; }
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  bool empty() const noexcept { return buffer_.empty(); }
  std::span<float> values() noexcept { return buffer_.span(); }
  std::span<const float> values() const noexcept { return buffer_.span(); }
  MatrixView matrix(std::size_t i) noexcept { return {buffer_.data() + i * rows_ * cols_, rows_, cols_, cols_}; }
  ConstMatrixView matrix(std::size_t i) const noexcept {
    return {buffer_.data() + i * rows_ * cols_, rows_, cols_, cols_};
  }

 private:
  Buffer<float> buffer_;
  std::size_t count_ = 0, rows_ = 0, cols_ = 0;
};

}  // namespace kvreplay
