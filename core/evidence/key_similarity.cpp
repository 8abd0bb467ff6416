#include "core/evidence/key_similarity.h"

#include <algorithm>
#include <numeric>

#include "core/base/blas.h"
#include "core/base/row_norms.h"

namespace kvreplay {
namespace {

constexpr std::size_t kTile = 256;

Tensor directions_of(ConstMatrixView keys) {
  std::vector<float> norms(keys.rows);
  row_norms(keys, Norm::l2, norms);
  Tensor directions(1, keys.rows, keys.cols);
  for (std::size_t i = 0; i < keys.rows; ++i)
    for (std::size_t d = 0; d < keys.cols; ++d) directions.matrix(0)(i, d) = keys(i, d) / (norms[i] + 1e-8f);
  return directions;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += double{a[d]} * double{b[d]};
  return sum;
}

// The largest j < n with row[j] > threshold, or n. Nearly all tiles hold none: first a look that vectorises.
std::size_t latest_above(const float* row, std::size_t n, float threshold) {
  int any = 0;
  for (std::size_t j = 0; j < n; ++j) any |= row[j] > threshold;
  if (any == 0) return n;
  std::size_t j = n - 1;
  while (!(row[j] > threshold)) --j;
  return j;
}

// For each row the latest other one whose cosine is above the threshold; 0 where there is none.
std::vector<std::size_t> latest_similar(ConstMatrixView directions, float threshold) {
  const std::size_t n = directions.rows, dim = directions.cols;
  std::vector<std::size_t> latest(n, 0), searching(n);
  std::iota(searching.begin(), searching.end(), std::size_t{0});
  Buffer<float> rows(kTile * dim), cosines(kTile * kTile);
  for (std::size_t end = n; end > 0 && !searching.empty(); end -= std::min(end, kTile)) {
    const std::size_t begin = end > kTile ? end - kTile : 0;
    std::size_t n_left = 0;
    for (std::size_t from = 0; from < searching.size(); from += kTile) {
      const std::size_t count = std::min(kTile, searching.size() - from);
      for (std::size_t r = 0; r < count; ++r)
        std::ranges::copy(directions.row(searching[from + r]), rows.data() + r * dim);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(count),
                  static_cast<blasint>(end - begin), static_cast<blasint>(dim), 1.0f, rows.data(),
                  static_cast<blasint>(dim), directions.row(begin).data(), static_cast<blasint>(directions.stride),
                  0.0f, cosines.data(), kTile);
      for (std::size_t r = 0; r < count; ++r) {
        const std::size_t i = searching[from + r];
        float* row = cosines.data() + r * kTile;
        if (i >= begin && i < end) row[i - begin] = 0;  // the diagonal
        if (const std::size_t j = latest_above(row, end - begin, threshold); j < end - begin)
          latest[i] = begin + j;
        else
          searching[n_left++] = i;
      }
    }
    searching.resize(n_left);
  }
  return latest;
}

}  // namespace

std::vector<double> mean_similarity(ConstMatrixView keys, double threshold) {
  const std::size_t n = keys.rows, dim = keys.cols;
  const Tensor all = directions_of(keys);
  const ConstMatrixView directions = all.matrix(0);
  std::vector<double> total(dim, 0.0), means(n, 0.0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t d = 0; d < dim; ++d) total[d] += directions(i, d);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t d = 0; d < dim; ++d) means[j] += directions(j, d) * total[d];
    means[j] -= dot(directions.row(j), directions.row(j));
  }
  const std::vector<std::size_t> spared = latest_similar(directions, static_cast<float>(threshold));
  for (std::size_t i = 0; i < n; ++i)
    if (spared[i] != i) means[spared[i]] -= dot(directions.row(i), directions.row(spared[i]));
  for (double& mean : means) mean /= static_cast<double>(n);
  return means;
}

}  // namespace kvreplay
