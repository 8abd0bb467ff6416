#pragma once
// Shadows NVIDIA's header of this name: its types and prototypes, and what only device code has.
#pragma GCC system_header

#ifdef __CUDACC__
#error "the emulation's headers must not be on nvcc's include path"
#endif
#define KVREPLAY_CUDA_EMULATION

// First, whatever was included before: outside nvcc it leaves these two empty.
#include <cuda_runtime_api.h>
#undef __shared__
#undef __launch_bounds__
#define __shared__ static  // blocks run one after another: one copy per process is one per block
#define __launch_bounds__(...)

// The typed launch has its place taken by the emulation's.
#define cudaLaunchKernelEx cudaLaunchKernelEx_of_nvidia
#include_next <cuda_runtime.h>
#undef cudaLaunchKernelEx

#include "tests/cuda_emulation/arithmetic_functions.h"
#include "tests/cuda_emulation/atomic_functions.h"
#include "tests/cuda_emulation/block_functions.h"
#include "tests/cuda_emulation/kernel_launch.h"
#include "tests/cuda_emulation/thread_index.h"
#include "tests/cuda_emulation/warp_functions.h"
