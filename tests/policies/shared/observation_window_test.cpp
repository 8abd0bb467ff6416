#include "policies/shared/observation_window.h"

#include <doctest/doctest.h>

#include <vector>

#include "core/base/error.h"

using namespace kvreplay;

namespace {

std::vector<float> pooled(std::vector<float> scores, Pooling pooling, std::size_t kernel) {
  pool(scores, pooling, kernel);
  return scores;
}

}  // namespace

TEST_CASE("averages count zeros beyond the ends, as torch's avg_pool1d does") {
  // kvpress [ran]: six ones under a kernel of 5 give .6 .8 1 1 .8 .6
  const std::vector<float> averages = pooled({5, 5, 5, 5, 5, 5}, Pooling::average, 5);
  CHECK(averages == std::vector<float>{3, 4, 5, 5, 4, 3});
  CHECK(pooled({3, 0, 6}, Pooling::average, 3) == std::vector<float>{1, 3, 2});
}

TEST_CASE("maxima ignore what is beyond the ends, also below zero") {
  CHECK(pooled({-5, -1, -4, -9, -8}, Pooling::max, 3) == std::vector<float>{-1, -1, -1, -4, -8});
}

TEST_CASE("a kernel wider than the scores spans them all") {
  CHECK(pooled({1, 2, 3}, Pooling::max, 9) == std::vector<float>{3, 3, 3});
  CHECK(pooled({1, 2, 6}, Pooling::average, 9) == std::vector<float>{1, 1, 1});
  CHECK(pooled({}, Pooling::average, 3).empty());
}

TEST_CASE("no pooling and a kernel of one change nothing") {
  CHECK(pooled({1, 9, 2}, Pooling::none, 4) == std::vector<float>{1, 9, 2});
  CHECK(pooled({1, 9, 2}, Pooling::average, 1) == std::vector<float>{1, 9, 2});
}
