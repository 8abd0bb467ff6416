#pragma once
// Shadows NVIDIA's header of this name, whose functions are the compiler's own.
#pragma GCC system_header

#include "tests/cuda_emulation/wmma_fragments.h"
