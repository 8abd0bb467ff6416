#pragma once
// Matrices as the libraries' calls give them: in column order, of any element type, on a device.

#include <library_types.h>

#include <cstddef>
#include <string>
#include <vector>

namespace kvreplay::emulation {

/// How a matrix lies in memory.
struct MatrixLayout {
  cudaDataType type = CUDA_R_32F;
  int rows = 0;
  int columns = 0;
  int leading = 0;  ///< elements from one column to the next

  std::size_t element_bytes() const;
  std::size_t extent() const;  ///< elements from the first to the last
};

/// Ends the program unless n matrices, `stride` elements from each other, lie in one allocation of the device.
void require_matrices(const void* first, const MatrixLayout& layout, long long stride, int n, int device,
                      const std::string& what);

/// Tells ThreadSanitizer of accesses to all elements.
void note_matrix_read(const void* matrix, const MatrixLayout& layout);
void note_matrix_written(void* matrix, const MatrixLayout& layout);

/// Elements as float32, extent() of them.
std::vector<float> widened(const void* matrix, const MatrixLayout& layout);

/// The way back, rounding to nearest; what lies between the columns is left alone.
void narrow(const std::vector<float>& values, void* matrix, const MatrixLayout& layout);

/// To the 10 bits of mantissa that tensor cores take of a float32, ties away from zero.
float rounded_to_tf32(float value);

}  // namespace kvreplay::emulation
