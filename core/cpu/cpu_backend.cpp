// The CPU backend: OpenBLAS for the dense products, our SIMD kernels for everything that follows a ranking.

#include <cblas.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <vector>

#include "core/backend.h"
#include "core/cpu/panel_kernels.h"
#include "core/cpu/row_kernels.h"

namespace kvreplay {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend() {
    // Threads are ours: a threaded BLAS inside would only fight with them.
    static std::once_flag once;
    std::call_once(once, [] { openblas_set_num_threads(1); });
  }

  std::string_view name() const override { return "cpu"; }

  void weigh(const AttentionRule& rule, const QueryPanel& panel, ConstMatrixView keys, Range key_range,
             PanelWeights& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t n = panel.queries.rows, dim = panel.queries.cols, n_keys = key_range.size();
    out.first_key = key_range.begin;
    out.n_keys = n_keys;
    out.n_queries = n;
    out.weights.reserve_discard(n_keys * kPanelWidth);

    // Idle lanes hold queries of zeros, so that nothing downstream meets uninitialised memory.
    scratch.padded.reserve_discard(kPanelWidth * dim);
    std::fill_n(scratch.padded.data(), kPanelWidth * dim, 0.0f);
    std::int32_t first[kPanelWidth], last[kPanelWidth];
    for (std::size_t l = 0; l < kPanelWidth; ++l) {
      if (l < n) std::ranges::copy(panel.queries.row(l), scratch.padded.data() + l * dim);
      const std::size_t position = panel.positions[std::min(l, n - 1)];
      first[l] = static_cast<std::int32_t>(std::max(rule.first_visible(position), key_range.begin) - key_range.begin);
      last[l] = static_cast<std::int32_t>(std::min(position + 1, key_range.end)) - 1 -
                static_cast<std::int32_t>(key_range.begin);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(n_keys), kPanelWidth,
                static_cast<blasint>(dim), static_cast<float>(rule.scale), keys.data + key_range.begin * keys.stride,
                static_cast<blasint>(keys.stride), scratch.padded.data(), static_cast<blasint>(dim), 0.0f,
                out.weights.data(), kPanelWidth);
    cpu::logits_to_weights(out.weights.data(), n_keys, first, last, static_cast<float>(rule.softcap), out.max);
  }

  void sum_sets(const PanelWeights& weights, ConstMatrixView values, std::span<const std::uint32_t> positions,
                std::span<const std::size_t> set_ends, PanelSums& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t dim = values.cols, n_sets = set_ends.size();
    out.values.reserve_discard(n_sets * dim * kPanelWidth);
    out.weights.reserve_discard(n_sets * kPanelWidth);
    scratch.block_values.reserve_discard(dim * kPanelWidth);
    scratch.block_weights.reserve_discard(kPanelWidth);
    // The weights start at first_key while positions count from 0: shift the base, so that one index serves both.
    const float* base = weights.weights.data() - static_cast<std::ptrdiff_t>(weights.first_key * kPanelWidth);

    for (std::size_t s = 0, begin = 0; s < n_sets; begin = set_ends[s++]) {
      float* set_values = out.values.data() + s * dim * kPanelWidth;
      float* set_weights = out.weights.data() + s * kPanelWidth;
      const auto sum = [&](std::size_t from, float* to_values, float* to_weights) {
        const std::size_t n = std::min(cpu::kSumBlock, set_ends[s] - from);
        cpu::sum_tokens(base, values.data, values.stride, dim, positions.data() + from, n, to_values, to_weights);
      };
      sum(begin, set_values, set_weights);
      for (std::size_t from = begin + cpu::kSumBlock; from < set_ends[s]; from += cpu::kSumBlock) {
        sum(from, scratch.block_values.data(), scratch.block_weights.data());
        cpu::add(set_values, scratch.block_values.data(), dim * kPanelWidth, set_values);
        cpu::add(set_weights, scratch.block_weights.data(), kPanelWidth, set_weights);
      }
    }
  }

  void sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                          std::span<const std::uint32_t> rows, std::span<const std::size_t> set_ends, bool with_sides,
                          OuterSums& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t p = left.cols, q = right.cols, n_sets = set_ends.size();
    const bool symmetric = left.data == right.data && p == q && !with_sides;
    out.products.reserve_discard(n_sets * p * q);
    out.weights.reserve_discard(n_sets);
    std::fill_n(out.weights.data(), n_sets, 0.0);
    if (with_sides) {
      out.left.reserve_discard(n_sets * p);
      out.right.reserve_discard(n_sets * q);
      std::fill_n(out.left.data(), n_sets * p, 0.0);
      std::fill_n(out.right.data(), n_sets * q, 0.0);
    }
    // A block of both sides stays in the second-level cache.
    constexpr std::size_t kRows = 128;
    scratch.left_rows.reserve_discard(kRows * p);
    scratch.right_rows.reserve_discard(kRows * q);
    static const std::array<double, kRows> kOnes = [] {
      std::array<double, kRows> ones;
      ones.fill(1);
      return ones;
    }();
    std::array<double, kRows> block_weights;
    for (std::size_t s = 0, begin = 0; s < n_sets; begin = set_ends[s++]) {
      double* products = out.products.data() + s * p * q;
      if (begin == set_ends[s]) std::fill_n(products, p * q, 0.0);
      for (std::size_t at = begin; at < set_ends[s]; at += kRows) {
        const auto block = rows.subspan(at, std::min(kRows, set_ends[s] - at));
        const auto n = static_cast<blasint>(block.size());
        for (std::size_t i = 0; i < block.size(); ++i) {
          block_weights[i] = weights.empty() ? 1 : weights[block[i]];
          out.weights[s] += block_weights[i];
          cpu::scale_to_double(left.row(block[i]).data(), p, symmetric ? std::sqrt(block_weights[i]) : block_weights[i],
                               scratch.left_rows.data() + i * p);
          if (!symmetric) cpu::scale_to_double(right.row(block[i]).data(), q, 1, scratch.right_rows.data() + i * q);
        }
        const auto np = static_cast<blasint>(p), nq = static_cast<blasint>(q);
        const double beta = at == begin ? 0 : 1;
        if (symmetric) {
          cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, np, n, 1.0, scratch.left_rows.data(), np, beta, products,
                      np);
          continue;
        }
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, np, nq, n, 1.0, scratch.left_rows.data(), np,
                    scratch.right_rows.data(), nq, beta, products, nq);
        if (!with_sides) continue;
        cblas_dgemv(CblasRowMajor, CblasTrans, n, np, 1.0, scratch.left_rows.data(), np, kOnes.data(), 1, 1.0,
                    out.left.data() + s * p, 1);
        cblas_dgemv(CblasRowMajor, CblasTrans, n, nq, 1.0, scratch.right_rows.data(), nq, block_weights.data(), 1, 1.0,
                    out.right.data() + s * q, 1);
      }
      if (symmetric)
        for (std::size_t r = 1; r < p; ++r)
          for (std::size_t c = 0; c < r; ++c) products[r * p + c] = products[c * p + r];
    }
  }

  void combine(const CellPlan& plan, const PanelSums& cells, const PanelSums& local, std::size_t value_dim,
               PanelErrors& out) override {
    Scratch& scratch = own_scratch();
    const std::size_t n_budgets = plan.n_budgets(), n_cells = plan.n_cells(), size = value_dim * kPanelWidth;
    out.errors.reserve_discard(n_budgets * size);
    out.squared_errors.reserve_discard(n_budgets * kPanelWidth);
    out.recall.reserve_discard(n_budgets * kPanelWidth);

    const auto measure = [&](std::size_t budget, std::size_t kept_side) {
      cpu::error_of_eviction(scratch.kept.values(kept_side, size), scratch.kept.weights(kept_side),
                             scratch.evicted.values(0, size), scratch.evicted.weights(0), value_dim,
                             out.errors.data() + budget * size, out.squared_errors.data() + budget * kPanelWidth,
                             out.recall.data() + budget * kPanelWidth);
    };
    if (!plan.nested) {
      for (std::size_t b = 0; b < n_budgets; ++b) {
        scratch.kept.set(0, local, size);
        scratch.evicted.set_zero(0, size);
        for (std::size_t c = 0; c < n_cells; ++c)
          (plan.holds(c, b) ? scratch.kept : scratch.evicted).add(0, 0, cells, c, size);
        measure(b, 0);
      }
      return;
    }
    // The kept sides are sums over the first k cells, the evicted ones over the last: one grows, the other is rebuilt
    // on the way back.
    scratch.kept.reserve(n_cells + 1, size);
    scratch.kept.set(0, local, size);
    for (std::size_t k = 1; k <= n_cells; ++k) scratch.kept.add(k, k - 1, cells, k - 1, size);
    scratch.evicted.set_zero(0, size);
    for (std::size_t k = n_cells;; --k) {
      for (std::size_t b = 0; b < n_budgets; ++b) {
        const bool holds_k_cells = (k == 0 || plan.holds(k - 1, b)) && (k == n_cells || !plan.holds(k, b));
        if (holds_k_cells) measure(b, k);
      }
      if (k == 0) break;
      scratch.evicted.add(0, 0, cells, k - 1, size);
    }
  }

  void attention_sums(const AttentionRule& rule, ConstMatrixView queries, std::span<const std::size_t> positions,
                      ConstMatrixView keys, std::span<float> out) override {
    Scratch& scratch = own_scratch();
    scratch.column_sums.assign(keys.rows, 0.0);
    scratch.block_sums.resize(keys.rows);
    for (std::size_t begin = 0, end = 0; begin < queries.rows; begin = end) {
      end = std::min(queries.rows, begin + block_rows(keys.rows));
      const Range seen{rule.first_visible(positions[begin]), positions[end - 1] + 1};
      const std::size_t stride = (seen.size() + 15) / 16 * 16;  // rows begin where lines of memory do
      scratch.rows.reserve_discard((end - begin) * stride);
      const MatrixView logits{scratch.rows.data(), end - begin, seen.size(), stride};
      dot_products(rule, queries.rows_between(begin, end), keys.rows_between(seen.begin, seen.end), logits);
      std::fill_n(scratch.block_sums.begin(), seen.size(), 0.0f);
      for (std::size_t r = 0; r < logits.rows; ++r) {
        const Range row{rule.first_visible(positions[begin + r]) - seen.begin, positions[begin + r] + 1 - seen.begin};
        float* weights = &logits(r, row.begin);
        const double sum = cpu::exponentials(weights, row.size(), static_cast<float>(rule.softcap));
        cpu::add_scaled(weights, row.size(), static_cast<float>(1 / sum), scratch.block_sums.data() + row.begin);
      }
      // Summed over blocks in float64: a sink gathers mass from every query, its neighbour nearly none.
      for (std::size_t i = 0; i < seen.size(); ++i) scratch.column_sums[seen.begin + i] += scratch.block_sums[i];
    }
    std::ranges::transform(scratch.column_sums, out.begin(), [](double sum) { return static_cast<float>(sum); });
  }

  void attention_rows(const AttentionRule& rule, ConstMatrixView queries, std::span<const std::size_t> positions,
                      ConstMatrixView keys, MatrixView out) override {
    dot_products(rule, queries, keys, out);
    for (std::size_t r = 0; r < queries.rows; ++r) {
      const Range row{rule.first_visible(positions[r]), positions[r] + 1};
      std::ranges::fill(out.row(r).first(row.begin), 0.0f);
      std::ranges::fill(out.row(r).subspan(row.end), 0.0f);
      float* weights = &out(r, row.begin);
      const double sum = cpu::exponentials(weights, row.size(), static_cast<float>(rule.softcap));
      cpu::scale(weights, row.size(), static_cast<float>(1 / sum));
    }
  }

 private:
  // Queries at a time whose logits against all keys stay in the second-level cache.
  static std::size_t block_rows(std::size_t n_keys) {
    constexpr std::size_t kFloats = std::size_t{1} << 18;
    return std::clamp<std::size_t>(kFloats / n_keys, 16, 256);
  }

  // scale * q . k, [queries.rows, keys.rows]
  static void dot_products(const AttentionRule& rule, ConstMatrixView queries, ConstMatrixView keys, MatrixView out) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(queries.rows),
                static_cast<blasint>(keys.rows), static_cast<blasint>(keys.cols), static_cast<float>(rule.scale),
                queries.data, static_cast<blasint>(queries.stride), keys.data, static_cast<blasint>(keys.stride), 0.0f,
                out.data, static_cast<blasint>(out.stride));
  }

  // Softmax sums over unions of cells: [n][value_dim, kPanelWidth] and [n][kPanelWidth].
  class Side {
   public:
    void reserve(std::size_t n, std::size_t size) {
      values_.reserve_discard(n * size);
      weights_.reserve_discard(n * kPanelWidth);
    }
    void set(std::size_t to, const PanelSums& sums, std::size_t size) {
      reserve(to + 1, size);
      std::copy_n(sums.values.data(), size, values_.data() + to * size);
      std::copy_n(sums.weights.data(), kPanelWidth, weights_.data() + to * kPanelWidth);
    }
    void set_zero(std::size_t to, std::size_t size) {
      reserve(to + 1, size);
      std::fill_n(values_.data() + to * size, size, 0.0f);
      std::fill_n(weights_.data() + to * kPanelWidth, kPanelWidth, 0.0f);
    }
    // this[to] = this[from] + cells[cell]
    void add(std::size_t to, std::size_t from, const PanelSums& cells, std::size_t cell, std::size_t size) {
      cpu::add(values_.data() + from * size, cells.values.data() + cell * size, size, values_.data() + to * size);
      cpu::add(weights_.data() + from * kPanelWidth, cells.weights.data() + cell * kPanelWidth, kPanelWidth,
               weights_.data() + to * kPanelWidth);
    }
    const float* values(std::size_t i, std::size_t size) const { return values_.data() + i * size; }
    const float* weights(std::size_t i) const { return weights_.data() + i * kPanelWidth; }

   private:
    Buffer<float> values_, weights_;
  };

  // Kept from call to call: fresh memory costs more than most calls.
  struct Scratch {
    Buffer<float> padded, block_values, block_weights;
    Buffer<double> left_rows, right_rows;
    Side kept, evicted;
    Buffer<float> rows;
    std::vector<double> column_sums;
    std::vector<float> block_sums;
  };
  static Scratch& own_scratch() {
    static thread_local Scratch scratch;
    return scratch;
  }
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace kvreplay
