#pragma once
// The figures of a page, read as a browser does, with nothing of the product in between.

#include <doctest/doctest.h>
#include <libdeflate.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "analysis/report/coded_arrays.h"

namespace kvreplay::testing {

/// Base64 digit by digit, then gzip.
inline std::vector<std::uint8_t> unpacked(const std::string& text, std::size_t n_bytes) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::uint8_t> packed;
  REQUIRE(text.size() % 4 == 0);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t bits = 0;
    int n = 0;
    for (std::size_t j = i; j < i + 4; ++j) {
      bits <<= 6;
      if (text[j] == '=') continue;
      bits |= static_cast<std::uint32_t>(digits.find(text[j]));
      ++n;
    }
    for (int byte = 0; byte + 1 < n; ++byte) packed.push_back(static_cast<std::uint8_t>(bits >> (16 - 8 * byte)));
  }
  std::vector<std::uint8_t> bytes(n_bytes);
  libdeflate_decompressor* const decompressor = libdeflate_alloc_decompressor();
  CHECK(libdeflate_gzip_decompress(decompressor, packed.data(), packed.size(), bytes.data(), bytes.size(), nullptr) ==
        LIBDEFLATE_SUCCESS);
  libdeflate_free_decompressor(decompressor);
  return bytes;
}

/// The figures of one array.
inline std::vector<double> decoded(const CodedArrays& arrays, const std::string& name) {
  const std::vector<std::uint8_t> bytes = unpacked(arrays.packed(), arrays.n_bytes());
  const nlohmann::ordered_json entry = arrays.index().at(name);
  std::size_t n = 1;
  for (const std::size_t extent : entry["shape"].get<std::vector<std::size_t>>()) n *= extent;
  const std::size_t at = entry["at"];
  std::vector<double> values;
  for (std::size_t i = 0; i < n; ++i) {
    const int code = bytes[at + i] + 256 * bytes[at + n + i];
    if (entry["coding"] == "codes") {
      values.push_back(code);
      continue;
    }
    const double low = entry["low"], high = entry["high"];
    if (code == 65535)
      values.push_back(std::numeric_limits<double>::quiet_NaN());
    else if (entry["coding"] == "linear")
      values.push_back(low + (high - low) * code / 65534);
    else
      values.push_back(code == 0 ? 0 : std::exp(low + (high - low) * (code - 1) / 65533));
  }
  return values;
}

}  // namespace kvreplay::testing
