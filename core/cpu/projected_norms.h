#pragma once
// Norms of columns after a matrix, by OpenBLAS.

#include <span>

#include "core/base/matrix.h"
#include "core/engine/backend.h"

namespace kvreplay::cpu {

/// Backend::projected_norms().
void projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms);

}  // namespace kvreplay::cpu
