#include "traces/hdf5/tensor_creation.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "traces/input/float_bits.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kChunkBytes = 256 << 10;
constexpr unsigned kDeflateLevel = 4;

}  // namespace

Type type_for(DType dtype) {
  const FloatBits bits = bits_of(dtype);
  Type type = copy_type(H5T_IEEE_F32LE);
  const auto make = [](auto&& call) { check("make", -1, "float type", call); };
  make([&] { return H5Tset_fields(type, bits.sign(), bits.exponent(), bits.exponent_size, 0, bits.mantissa_size); });
  make([&] { return H5Tset_size(type, bits.size); });
  make([&] { return H5Tset_ebias(type, bits.bias); });
  return type;
}

PropertyList tensor_creation(std::span<const hsize_t> dims, std::size_t element_size, bool gzip) {
  PropertyList creation = dataset_creation();
  const hsize_t rows = dims[dims.size() - 2], cols = dims.back();
  std::size_t bytes = element_size;
  for (const hsize_t dim : dims) bytes *= dim;
  if (bytes == 0 || (bytes <= kChunkBytes && !gzip)) return creation;
  std::vector<hsize_t> chunk(dims.size(), 1);
  chunk[dims.size() - 2] = rows_per_chunk(rows, cols, element_size);
  chunk.back() = cols;
  check("set up", -1, "chunks", [&] { return H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()); });
  if (gzip) compress(creation, kDeflateLevel);
  return creation;
}

hsize_t rows_per_chunk(hsize_t rows, hsize_t cols, std::size_t element_size) {
  const hsize_t fitting = std::bit_floor(std::max<hsize_t>(1, kChunkBytes / (cols * element_size)));
  return std::max<hsize_t>(1, std::min(rows, fitting));
}

}  // namespace kvreplay::hdf5
