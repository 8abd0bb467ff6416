#pragma once
// Amounts of memory: as text, and what the machine has.

#include <cstddef>
#include <optional>
#include <string>

namespace kvreplay {

/// Reads "4GiB", "800MB", "1.5 GB": kB MB GB TB are powers of 1000, KiB MiB GiB TiB of 1024, in any case; a number
/// alone is bytes. Throws UsageError.
std::size_t parse_memory(const std::string& option, const std::string& text);

/// "1.4 GiB", "512 MiB"
std::string memory_text(double bytes);

/// What a new process could have, by the kernel's own estimate and the limit of its control group; 0 when that cannot
/// be known.
std::size_t available_memory();

/// What a limit on the address space (ulimit -v) leaves this process; nothing where there is none.
std::optional<std::size_t> address_space_left();

/// What the option --memory allows: `text` read by parse_memory(), or nine tenths of available_memory() where it is
/// empty. Throws UsageError.
std::size_t allowed_memory(const std::string& text);

}  // namespace kvreplay
