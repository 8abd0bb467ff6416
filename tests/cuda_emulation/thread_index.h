#pragma once
// Who and where a CUDA thread is. The scheduler sets these before it goes on with a thread.

#include <vector_types.h>

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;
