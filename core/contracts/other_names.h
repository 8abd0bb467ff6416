#pragma once
// What other programs call policies.

#include <string>
#include <string_view>

namespace kvreplay {

/// The name here of a policy that kvpress or KVCache-Factory know by another one, in any spelling: "AdaKVPress" is
/// "ada-snapkv". "" when this is no such name.
std::string name_elsewhere(std::string_view name);

}  // namespace kvreplay
