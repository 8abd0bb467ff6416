#pragma once
// Shadows NVIDIA's header of this name, whose functions are assembler.
#pragma GCC system_header

#include "tests/cuda_emulation/async_copy.h"
