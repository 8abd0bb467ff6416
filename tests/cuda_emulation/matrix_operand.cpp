#include "tests/cuda_emulation/matrix_operand.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <bit>
#include <cstdint>

#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"

namespace kvreplay::emulation {
namespace {

const char* column(const void* matrix, const MatrixLayout& layout, int j) {
  return static_cast<const char*>(matrix) +
         static_cast<std::size_t>(j) * static_cast<std::size_t>(layout.leading) * layout.element_bytes();
}

std::size_t column_bytes(const MatrixLayout& layout) {
  return static_cast<std::size_t>(layout.rows) * layout.element_bytes();
}

}  // namespace

std::size_t MatrixLayout::element_bytes() const {
  switch (type) {
    case CUDA_R_16F:
    case CUDA_R_16BF:
      return 2;
    case CUDA_R_32F:
      return 4;
    case CUDA_R_64F:
      return 8;
    default:
      fatal("element type " + std::to_string(type) + " is not emulated");
  }
}

std::size_t MatrixLayout::extent() const {
  if (rows == 0 || columns == 0) return 0;
  return static_cast<std::size_t>(columns - 1) * static_cast<std::size_t>(leading) + static_cast<std::size_t>(rows);
}

void require_matrices(const void* first, const MatrixLayout& layout, long long stride, int n, int device,
                      const std::string& what) {
  if (n == 0 || layout.extent() == 0) return;
  if (stride < 0) fatal(what + " has a negative stride");
  const std::size_t last = static_cast<std::size_t>(n - 1) * static_cast<std::size_t>(stride);
  require_on_device(first, (last + layout.extent()) * layout.element_bytes(), device, what);
}

void note_matrix_read(const void* matrix, const MatrixLayout& layout) {
  for (int j = 0; j < layout.columns; ++j) note_read(column(matrix, layout, j), column_bytes(layout));
}

void note_matrix_written(void* matrix, const MatrixLayout& layout) {
  for (int j = 0; j < layout.columns; ++j)
    note_write(const_cast<char*>(column(matrix, layout, j)), column_bytes(layout));
}

std::vector<float> widened(const void* matrix, const MatrixLayout& layout) {
  std::vector<float> values(layout.extent());
  for (std::size_t i = 0; i < values.size(); ++i) switch (layout.type) {
      case CUDA_R_16F:
        values[i] = __half2float(static_cast<const __half*>(matrix)[i]);
        break;
      case CUDA_R_16BF:
        values[i] = __bfloat162float(static_cast<const __nv_bfloat16*>(matrix)[i]);
        break;
      default:
        values[i] = static_cast<const float*>(matrix)[i];
    }
  return values;
}

void narrow(const std::vector<float>& values, void* matrix, const MatrixLayout& layout) {
  for (int j = 0; j < layout.columns; ++j)
    for (int r = 0; r < layout.rows; ++r) {
      const std::size_t i =
          static_cast<std::size_t>(j) * static_cast<std::size_t>(layout.leading) + static_cast<std::size_t>(r);
      switch (layout.type) {
        case CUDA_R_16F:
          static_cast<__half*>(matrix)[i] = __float2half_rn(values[i]);
          break;
        case CUDA_R_16BF:
          static_cast<__nv_bfloat16*>(matrix)[i] = __float2bfloat16_rn(values[i]);
          break;
        default:
          static_cast<float*>(matrix)[i] = values[i];
      }
    }
}

float rounded_to_tf32(float value) {
  auto bits = std::bit_cast<std::uint32_t>(value);
  constexpr std::uint32_t exponent = 0x7f800000, dropped = 0x1fff;
  if ((bits & exponent) == exponent) return value;
  bits = (bits + (dropped + 1) / 2) & ~dropped;
  return std::bit_cast<float>(bits);
}

}  // namespace kvreplay::emulation
