#pragma once
// Independent work units over threads.

#include <cstddef>
#include <functional>

namespace kvreplay {

/// Calls work(unit, thread) for every unit in [0, n_units), in ascending order of start, on `n_threads` threads. The
/// first exception stops the pool (units under way end first) and is thrown here.
void for_each_unit(std::size_t n_units, std::size_t n_threads,
                   const std::function<void(std::size_t unit, std::size_t thread)>& work);

}  // namespace kvreplay
