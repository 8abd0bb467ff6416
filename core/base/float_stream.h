#pragma once
// Conversion of recorded tensors at the speed of memory.

#include "core/base/dtype.h"

namespace kvreplay {

/// Like to_float32(), for much more than the caches hold: writes past them, so that memory is written and not also
/// read. \return  whether every value is finite
/// \param source  bytes, out.size() elements of `dtype`, aligned for them
bool stream_float32(std::span<const std::byte> source, DType dtype, std::span<float> out);

}  // namespace kvreplay
