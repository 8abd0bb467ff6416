#pragma once
// Memory of the engine as arrays of NumPy, without copies: an array holds what keeps its memory alive.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/matrix.h"

namespace kvreplay::python {

namespace nb = nanobind;

/// Read-only; writable ones are made for nobody else.
using Floats1 = nb::ndarray<nb::numpy, const float, nb::ndim<1>>;
using Floats2 = nb::ndarray<nb::numpy, const float, nb::ndim<2>>;
using Floats3 = nb::ndarray<nb::numpy, const float, nb::ndim<3>>;
using WritableFloats2 = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using Doubles1 = nb::ndarray<nb::numpy, const double, nb::ndim<1>>;
using Doubles2 = nb::ndarray<nb::numpy, const double, nb::ndim<2>>;
using Doubles3 = nb::ndarray<nb::numpy, const double, nb::ndim<3>>;
using Counts1 = nb::ndarray<nb::numpy, const std::int64_t, nb::ndim<1>>;

template <typename T>
nb::capsule keeper(std::shared_ptr<T> owner) {
  return nb::capsule(new std::shared_ptr<T>(std::move(owner)),
                     [](void* p) noexcept { delete static_cast<std::shared_ptr<T>*>(p); });
}

/// Matrices of one shape, equally far apart: [count, rows, cols].
/// \param matrix  the i-th of them
template <typename Matrix, typename Owner>
Floats3 stacked(std::size_t count, const Matrix& matrix, std::shared_ptr<Owner> owner) {
  const ConstMatrixView first = matrix(std::size_t{0});
  const std::size_t shape[] = {count, first.rows, first.cols};
  const std::int64_t strides[] = {count > 1 ? matrix(std::size_t{1}).data - first.data : 0,
                                  static_cast<std::int64_t>(first.stride), 1};
  return Floats3(first.data, 3, shape, keeper(std::move(owner)), strides);
}

/// One matrix of a tensor: [rows, cols].
template <typename Owner>
Floats2 as_array(ConstMatrixView matrix, std::shared_ptr<Owner> owner) {
  const std::size_t shape[] = {matrix.rows, matrix.cols};
  const std::int64_t strides[] = {static_cast<std::int64_t>(matrix.stride), 1};
  return Floats2(matrix.data, 2, shape, keeper(std::move(owner)), strides);
}

/// A copy that the array owns.
template <typename T>
nb::ndarray<nb::numpy, const T> owned(std::vector<T> values, std::vector<std::size_t> shape) {
  auto owner = std::make_shared<std::vector<T>>(std::move(values));
  const T* data = owner->data();
  return nb::ndarray<nb::numpy, const T>(data, shape.size(), shape.data(), keeper(std::move(owner)));
}

}  // namespace kvreplay::python
