#pragma once
// Which arrays stand in a file of format kvlkv-1: said once, for reader and writer. Private to traces/.

#include <array>
#include <string>
#include <vector>

#include "core/contracts/learned_policy.h"

namespace kvreplay::lkv_layout {

inline constexpr const char* kFormat = "kvlkv-1";

/// The lengths that shapes are made of.
struct Extents {
  std::size_t layers = 0, kv_heads = 0, features = 0, hidden = 0;
};

struct NetworkArray {
  const char* name;
  std::vector<float> HeadNetworks::*values;
  std::vector<std::size_t> (*shape)(const Extents&);
};

inline const std::array<NetworkArray, 7> kNetworkArrays{{
    {"mu", &HeadNetworks::mu,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features};
     }},
    {"sd", &HeadNetworks::sd,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features};
     }},
    {"w1", &HeadNetworks::w1,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features, n.hidden};
     }},
    {"b1", &HeadNetworks::b1,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.hidden};
     }},
    {"w2", &HeadNetworks::w2,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.hidden};
     }},
    {"ws", &HeadNetworks::ws,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features};
     }},
    {"b", &HeadNetworks::b,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads};
     }},
}};

inline std::string fold_name(std::size_t fold) { return "fold" + std::to_string(fold); }

}  // namespace kvreplay::lkv_layout
