#pragma once
// The backend that runs everywhere.

#include <memory>

#include "core/engine/backend.h"

namespace kvreplay {

std::unique_ptr<Backend> make_cpu_backend();

}  // namespace kvreplay
