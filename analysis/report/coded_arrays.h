#pragma once
// Arrays of figures as text in a page: 16-bit codes, their low bytes before their high ones, gzip, base64. A browser
// undoes it with what it has (atob, DecompressionStream). Three digits survive, which is what is shown.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

namespace kvreplay {

using ArrayShape = std::vector<std::size_t>;

class CodedArrays {
 public:
  /// Of figures that span decades: 0 is zero and below, 65535 NaN, the others lie evenly in logarithm between the least
  /// and the greatest. Over six decades a figure comes back within 1.1e-4 of itself.
  /// \param name   of its own
  /// \param shape  row-major; its product is values.size()
  void add_logarithmic(const std::string& name, const ArrayShape& shape, std::span<const double> values);
  /// Of figures with a sign: 65535 is NaN, the others lie evenly between the least and the greatest.
  void add_linear(const std::string& name, const ArrayShape& shape, std::span<const double> values);
  /// As they are.
  void add_codes(const std::string& name, const ArrayShape& shape, std::span<const std::uint16_t> codes);

  bool empty() const { return bytes_.empty(); }
  std::size_t n_bytes() const { return bytes_.size(); }  ///< before compression
  /// By name: its shape, where its bytes begin, how it is coded ("log", "linear", "codes"), and of the first two the
  /// least and the greatest ("low", "high": of "log" as natural logarithms).
  nlohmann::ordered_json index() const;
  /// Base64 of gzip of all bytes; the same arrays give the same text. Throws std::bad_alloc.
  std::string packed() const;

 private:
  struct Entry {
    std::string name;
    ArrayShape shape;
    std::size_t at;
    const char* coding;
    double low, high;
  };

  void add(Entry entry, std::span<const std::uint16_t> codes);

  std::vector<Entry> entries_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace kvreplay
