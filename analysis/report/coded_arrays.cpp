#include "analysis/report/coded_arrays.h"

#include <libdeflate.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <string_view>

namespace kvreplay {
namespace {

constexpr std::uint16_t kNaN = 65535;
constexpr int kCompressionLevel = 9;

/// Least and greatest of what is finite; [0, 1] where nothing is.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  Range known() const { return low <= high ? *this : Range{.low = 0, .high = 1}; }
  /// In [0, 1].
  double place(double value) const { return high > low ? (value - low) / (high - low) : 0; }
};

std::uint16_t step(double share, double n_steps) { return static_cast<std::uint16_t>(std::lround(share * n_steps)); }

std::string gzip(std::span<const std::uint8_t> bytes) {
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(kCompressionLevel), libdeflate_free_compressor);
  if (!compressor) throw std::bad_alloc();
  std::string out(libdeflate_gzip_compress_bound(compressor.get(), bytes.size()), '\0');
  out.resize(libdeflate_gzip_compress(compressor.get(), bytes.data(), bytes.size(), out.data(), out.size()));
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < n ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    for (std::size_t digit = 0; digit < 4; ++digit) text += digit <= n ? kDigits[bits >> (18 - 6 * digit) & 63] : '=';
  }
  return text;
}

}  // namespace

void CodedArrays::add_logarithmic(const std::string& name, const ArrayShape& shape, std::span<const double> values) {
  Range range;
  for (const double value : values)
    if (value > 0 && std::isfinite(value)) range.add(std::log(value));
  range = range.known();
  std::vector<std::uint16_t> codes;
  codes.reserve(values.size());
  for (const double value : values) {
    if (!std::isfinite(value))
      codes.push_back(kNaN);
    else
      codes.push_back(value <= 0 ? 0 : static_cast<std::uint16_t>(1 + step(range.place(std::log(value)), kNaN - 2)));
  }
  add({.name = name, .shape = shape, .at = 0, .coding = "log", .low = range.low, .high = range.high}, codes);
}

void CodedArrays::add_linear(const std::string& name, const ArrayShape& shape, std::span<const double> values) {
  Range range;
  for (const double value : values)
    if (std::isfinite(value)) range.add(value);
  range = range.known();
  std::vector<std::uint16_t> codes;
  codes.reserve(values.size());
  for (const double value : values) codes.push_back(std::isfinite(value) ? step(range.place(value), kNaN - 1) : kNaN);
  add({.name = name, .shape = shape, .at = 0, .coding = "linear", .low = range.low, .high = range.high}, codes);
}

void CodedArrays::add_codes(const std::string& name, const ArrayShape& shape, std::span<const std::uint16_t> codes) {
  add({.name = name, .shape = shape, .at = 0, .coding = "codes", .low = 0, .high = 0}, codes);
}

void CodedArrays::add(Entry entry, std::span<const std::uint16_t> codes) {
  entry.at = bytes_.size();
  bytes_.reserve(bytes_.size() + 2 * codes.size());
  for (const std::uint16_t code : codes) bytes_.push_back(static_cast<std::uint8_t>(code & 0xff));
  for (const std::uint16_t code : codes) bytes_.push_back(static_cast<std::uint8_t>(code >> 8));
  entries_.push_back(std::move(entry));
}

nlohmann::ordered_json CodedArrays::index() const {
  nlohmann::ordered_json index = nlohmann::ordered_json::object();
  for (const Entry& entry : entries_) {
    nlohmann::ordered_json& one = index[entry.name];
    one = {{"shape", entry.shape}, {"at", entry.at}, {"coding", entry.coding}};
    if (std::string_view(entry.coding) != "codes") one.update({{"low", entry.low}, {"high", entry.high}});
  }
  return index;
}

std::string CodedArrays::packed() const { return base64(gzip(bytes_)); }

}  // namespace kvreplay
