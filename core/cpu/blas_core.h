#pragma once
// OpenBLAS chooses its kernels by a list of processor models; a processor newer than the library gets those of 2004.

#include <string>

namespace kvreplay {

/// The kernels that OpenBLAS has chosen, by its own name for them.
std::string blas_core();

/// Call first thing in main(). Where OpenBLAS has fallen back to kernels far below what the processor can do, starts
/// the program again with OPENBLAS_CORETYPE set, which the library reads only when it is loaded. Does nothing when the
/// variable is set already, or where a program cannot start itself again.
void choose_blas_core(char** argv);

}  // namespace kvreplay
