#pragma once
// Shadows NVIDIA's header of this name, whose functions are assembler. The C++ pipeline is not emulated.
#pragma GCC system_header

#include "tests/cuda_emulation/async_copy.h"
