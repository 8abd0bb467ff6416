#include "tools/cli/room_to_run.h"

#include <fmt/format.h>

#include <optional>

#include "tools/replay/memory_size.h"

namespace kvreplay {

bool has_room_to_run(std::ostream& err) {
  constexpr std::size_t kLeast = 128 << 20;
  const std::optional<std::size_t> left = address_space_left();
  if (!left || *left >= kLeast) return true;
  err << fmt::format("kvreplay: the limit on address space (ulimit -v) leaves {}, and it takes {} to begin\n",
                     memory_text(static_cast<double>(*left)), memory_text(kLeast));
  return false;
}

}  // namespace kvreplay
