#include "analysis/report/coded_arrays.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/support/decoded_arrays.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("figures of six decades come back within 1.1e-4 of themselves, zeros and gaps as they are") {
  std::vector<double> values = {0, kNaN, -3, std::numeric_limits<double>::infinity()};
  for (int i = 0; i <= 600; ++i) values.push_back(1e-5 * std::pow(10, i / 100.0));
  CodedArrays arrays;
  arrays.add_logarithmic("before", {1}, std::vector<double>{7});
  arrays.add_logarithmic("figures", {5, 121}, values);
  const std::vector<double> back = decoded(arrays, "figures");
  CHECK(back[0] == 0);
  CHECK(std::isnan(back[1]));
  CHECK(back[2] == 0);  // below zero there is no logarithm
  CHECK(std::isnan(back[3]));
  for (std::size_t i = 4; i < values.size(); ++i) CHECK(std::abs(back[i] / values[i] - 1) < 1.1e-4);
  CHECK(decoded(arrays, "before")[0] == doctest::Approx(7).epsilon(1e-6));
}

TEST_CASE("figures with a sign keep it") {
  const std::vector<double> values = {-2, kNaN, 0, 1e-3, 6};
  CodedArrays arrays;
  arrays.add_linear("signed", {5}, values);
  const std::vector<double> back = decoded(arrays, "signed");
  CHECK(std::isnan(back[1]));
  for (const std::size_t i : {0, 2, 3, 4}) CHECK(back[i] == doctest::Approx(values[i]).epsilon(1e-4).scale(1));
  CHECK(back[0] == -2);
  CHECK(back[4] == 6);
}

TEST_CASE("codes come back as they are, and arrays without figures make no trouble") {
  std::vector<std::uint16_t> codes(70'000);
  std::iota(codes.begin(), codes.end(), std::uint16_t{0});
  CodedArrays arrays;
  CHECK(arrays.empty());
  arrays.add_codes("sets", {7, 10'000}, codes);
  arrays.add_logarithmic("none", {2}, std::vector<double>{kNaN, 0});
  arrays.add_linear("nothing", {0}, {});
  const std::vector<double> back = decoded(arrays, "sets");
  CHECK(std::equal(back.begin(), back.end(), codes.begin(), codes.end()));
  CHECK(std::isnan(decoded(arrays, "none")[0]));
  CHECK(decoded(arrays, "none")[1] == 0);
  CHECK(decoded(arrays, "nothing").empty());
  CHECK(arrays.packed() == arrays.packed());
}

TEST_CASE("texts of every length modulo three are padded") {
  for (std::size_t n = 1; n <= 9; ++n) {
    CodedArrays arrays;
    arrays.add_codes("x", {n}, std::vector<std::uint16_t>(n, 300));
    CHECK(decoded(arrays, "x") == std::vector<double>(n, 300));
  }
}
