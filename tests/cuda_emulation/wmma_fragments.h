#pragma once
// nvcuda::wmma: products of small matrices by a warp. Which lane holds which element is nobody's business in CUDA; here
// the map is scrambled, so that code which thinks it knows is found out. None of these functions orders memory.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "tests/cuda_emulation/arithmetic_functions.h"
#include "tests/cuda_emulation/call_site.h"
#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/warp_functions.h"

namespace nvcuda::wmma {

struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major, mem_col_major };

namespace precision {
struct tf32 {};
}  // namespace precision

}  // namespace nvcuda::wmma

namespace kvreplay::emulation {

template <typename Use, int kM, int kN, int kK>
inline constexpr int kFragmentRows = std::is_same_v<Use, nvcuda::wmma::matrix_b> ? kK : kM;
template <typename Use, int kM, int kN, int kK>
inline constexpr int kFragmentColumns = std::is_same_v<Use, nvcuda::wmma::matrix_a> ? kK : kN;

/// The shapes that sm_80 has.
template <typename T>
constexpr bool is_wmma_shape(int m, int n, int k) {
  if constexpr (std::is_same_v<T, double>) return m == 8 && n == 8 && k == 4;
  if constexpr (std::is_same_v<T, nvcuda::wmma::precision::tf32>) return m == 16 && n == 16 && k == 8;
  return k == 16 && ((m == 16 && n == 16) || (m == 32 && n == 8) || (m == 8 && n == 32));
}

/// Row and column of a lane's i-th element.
struct FragmentPlace {
  int row, column;
};
template <typename Fragment>
FragmentPlace fragment_place(int lane, int i) {
  const int element = i * 32 + lane * 5 % 32;
  return {element / Fragment::kColumns, element % Fragment::kColumns};
}

/// Ends the program unless all lanes name the same memory, aligned as a load or store wants it.
template <typename T>
void meet_at_matrix(const T* memory, unsigned leading, const CallSite& site) {
  struct Place {
    const T* memory;
    std::uint64_t leading;
  };
  const Place own{memory, leading};
  Place all[32];
  do_in_warp({WarpOperation::gather, ~0u, &own, sizeof own, 0, all}, site);
  for (const Place& each : all)
    if (each.memory != memory || each.leading != leading)
      fatal("wmma: lanes name different memory or leading dimensions", &site);
  if (reinterpret_cast<std::uintptr_t>(memory) % 32 != 0) fatal("wmma: memory is not aligned to 32 bytes", &site);
  if (leading * sizeof(T) % 16 != 0) fatal("wmma: a leading dimension is no multiple of 16 bytes", &site);
}

/// A fragment's elements of all lanes, as a matrix.
template <typename Fragment>
struct GatheredMatrix {
  double values[Fragment::kRows][Fragment::kColumns];

  GatheredMatrix(const Fragment& fragment, const CallSite& site) {
    using Element = std::remove_cvref_t<decltype(fragment.x[0])>;
    constexpr int n = Fragment::num_elements;
    Element all[32][n];
    do_in_warp({WarpOperation::gather, ~0u, fragment.x, sizeof fragment.x, 0, all}, site);
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < n; ++i) {
        const FragmentPlace place = fragment_place<Fragment>(lane, i);
        values[place.row][place.column] = static_cast<double>(static_cast<float>(all[lane][i]));
        if constexpr (std::is_same_v<Element, double>) values[place.row][place.column] = all[lane][i];
        if constexpr (Fragment::kIsTf32)
          if (!std::isnan(all[lane][i]) && (__float_as_uint(all[lane][i]) & 0x1fff) != 0)
            fatal("wmma: a value is no tf32, __float_to_tf32 is missing", &site);
      }
  }
};

}  // namespace kvreplay::emulation

namespace nvcuda::wmma {

template <typename Use, int kM, int kN, int kK, typename T, typename Layout = void>
struct fragment {
  static constexpr bool kIsTf32 = std::is_same_v<T, precision::tf32>;
  static_assert(std::is_same_v<Use, accumulator> || kvreplay::emulation::is_wmma_shape<T>(kM, kN, kK),
                "no such shape for this type");
  static_assert(std::is_same_v<Use, accumulator> == std::is_void_v<Layout>, "matrices have layouts, accumulators none");
  static constexpr int kRows = kvreplay::emulation::kFragmentRows<Use, kM, kN, kK>;
  static constexpr int kColumns = kvreplay::emulation::kFragmentColumns<Use, kM, kN, kK>;
  static constexpr int num_elements = kRows * kColumns / 32;
  using element_type = std::conditional_t<kIsTf32, float, T>;

  element_type x[num_elements];
};

inline float __float_to_tf32(float value) {
  const unsigned bits = __float_as_uint(value);
  if (std::isnan(value) || std::isinf(value)) return value;
  return __uint_as_float((bits + 0x1000) & ~0x1fffu);
}

template <typename Fragment, typename T>
void fill_fragment(Fragment& fragment, T value) {
  for (auto& element : fragment.x) element = value;
}

template <typename Use, int kM, int kN, int kK, typename T, typename Layout>
void load_matrix_sync(fragment<Use, kM, kN, kK, T, Layout>& loaded,
                      const typename fragment<Use, kM, kN, kK, T, Layout>::element_type* memory, unsigned leading,
                      kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  static_assert(!std::is_void_v<Layout>, "an accumulator is loaded with a layout");
  kvreplay::emulation::meet_at_matrix(memory, leading, site);
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  for (int i = 0; i < loaded.num_elements; ++i) {
    const auto [row, column] = kvreplay::emulation::fragment_place<fragment<Use, kM, kN, kK, T, Layout>>(lane, i);
    const bool by_rows = std::is_same_v<Layout, row_major>;
    loaded.x[i] =
        memory[static_cast<unsigned>(by_rows ? row : column) * leading + static_cast<unsigned>(by_rows ? column : row)];
  }
}

template <int kM, int kN, int kK, typename T>
void load_matrix_sync(fragment<accumulator, kM, kN, kK, T>& loaded, const T* memory, unsigned leading, layout_t layout,
                      kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  kvreplay::emulation::meet_at_matrix(memory, leading, site);
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  for (int i = 0; i < loaded.num_elements; ++i) {
    const auto [row, column] = kvreplay::emulation::fragment_place<fragment<accumulator, kM, kN, kK, T>>(lane, i);
    const bool by_rows = layout == mem_row_major;
    loaded.x[i] =
        memory[static_cast<unsigned>(by_rows ? row : column) * leading + static_cast<unsigned>(by_rows ? column : row)];
  }
}

template <int kM, int kN, int kK, typename T>
void store_matrix_sync(T* memory, const fragment<accumulator, kM, kN, kK, T>& stored, unsigned leading, layout_t layout,
                       kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  kvreplay::emulation::meet_at_matrix(memory, leading, site);
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  for (int i = 0; i < stored.num_elements; ++i) {
    const auto [row, column] = kvreplay::emulation::fragment_place<fragment<accumulator, kM, kN, kK, T>>(lane, i);
    const bool by_rows = layout == mem_row_major;
    memory[static_cast<unsigned>(by_rows ? row : column) * leading + static_cast<unsigned>(by_rows ? column : row)] =
        stored.x[i];
  }
}

/// d = a b + c.
template <int kM, int kN, int kK, typename T, typename LayoutA, typename LayoutB, typename D, typename C>
void mma_sync(fragment<accumulator, kM, kN, kK, D>& d, const fragment<matrix_a, kM, kN, kK, T, LayoutA>& a,
              const fragment<matrix_b, kM, kN, kK, T, LayoutB>& b, const fragment<accumulator, kM, kN, kK, C>& c,
              kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  // Accumulated in float32, in double for double; the hardware has orders and roundings of its own.
  using Sum = std::conditional_t<std::is_same_v<D, double>, double, float>;
  const kvreplay::emulation::GatheredMatrix left(a, site);
  const kvreplay::emulation::GatheredMatrix right(b, site);
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  for (int i = 0; i < d.num_elements; ++i) {
    const auto [row, column] = kvreplay::emulation::fragment_place<fragment<accumulator, kM, kN, kK, D>>(lane, i);
    Sum sum = static_cast<Sum>(c.x[i]);
    for (int k = 0; k < kK; ++k) sum += static_cast<Sum>(left.values[row][k] * right.values[k][column]);
    d.x[i] = static_cast<D>(sum);
  }
}

}  // namespace nvcuda::wmma
