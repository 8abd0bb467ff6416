#pragma once
// The backend that a test program judges: one body of tests for all of them. Each program links one definition.

#include <memory>

#include "core/engine/backend.h"

namespace kvreplay::testing {

std::unique_ptr<Backend> make_tested_backend();

}  // namespace kvreplay::testing
