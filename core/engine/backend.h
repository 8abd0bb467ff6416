#pragma once
// The few numerical primitives that a replay needs. Backends implement them; policies and metrics never see which one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/dtype.h"
#include "core/base/linear_algebra.h"
#include "core/base/matrix.h"
#include "core/base/row_norms.h"
#include "core/data/layer_data.h"
#include "core/engine/output_sink.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// How queries meet keys in one layer.
struct AttentionRule {
  double scale = 1;                ///< logit = scale * q . k
  double softcap = 0;              ///< s > 0: logit becomes s * tanh(logit / s)
  std::size_t sliding_window = 0;  ///< W > 0: a query at t sees (t - W, t], else [0, t]

  /// First position that a query at t sees.
  std::size_t first_visible(std::size_t t) const {
    return sliding_window == 0 || t < sliding_window ? 0 : t - sliding_window + 1;
  }
};

/// The rule of a layer.
AttentionRule attention_rule(const ModelInfo& model, const LayerInfo& layer);

/// Panels: at most kPanelWidth queries each, one SIMD lane per query. One panel for each of some query heads that read
/// the same KV head, all at the same positions.
struct QueryPanels {
  std::vector<ConstMatrixView> queries;    ///< [n_panels] of [n, head_dim]
  std::span<const std::size_t> positions;  ///< [n], ascending
};

/// exp(logit - max) of panels against keys [first_key, first_key + n_keys); 0 where the mask hides a key, and where it
/// would be below 2^-126.
struct PanelWeights {
  Buffer<float> weights;  ///< [n_keys, n_panels, kPanelWidth]
  std::size_t first_key = 0;
  std::size_t n_keys = 0;
  std::size_t n_panels = 0;
  std::size_t n_queries = 0;  ///< lanes in use; the others hold finite values without meaning

  const float* row(std::size_t key, std::size_t panel) const {
    return weights.data() + ((key - first_key) * n_panels + panel) * kPanelWidth;
  }
};

/// Softmax sums of one panel over cells of tokens: weighted values and weights.
struct SumsView {
  const float* values = nullptr;   ///< [n_cells, value_dim, kPanelWidth]: sum of e_i v_i
  const float* weights = nullptr;  ///< [n_cells, kPanelWidth]: sum of e_i
};

/// The same of several panels.
struct PanelSums {
  Buffer<float> values;   ///< [n_panels, n_cells, value_dim, kPanelWidth]
  Buffer<float> weights;  ///< [n_panels, n_cells, kPanelWidth]
  std::size_t n_cells = 0;
  std::size_t value_dim = 0;

  SumsView panel(std::size_t p) const {
    return {values.data() + p * n_cells * value_dim * kPanelWidth, weights.data() + p * n_cells * kPanelWidth};
  }
};

/// Replayed outputs of a panel at all budgets of one plan.
struct PanelErrors {
  Buffer<float> errors;  ///< [n_budgets, value_dim, kPanelWidth]: output of the retained cache minus full output
  Buffer<float> squared_errors;  ///< [n_budgets, kPanelWidth]: their squared norms
  Buffer<float> recall;          ///< [n_budgets, kPanelWidth]: softmax mass on retained and local tokens
};

/// Sums over cells of tokens, in float64: of outer products, and of their two sides.
struct OuterSums {
  Buffer<double> products;  ///< [n_cells, left, right]: sum of w_i a_i b_i^T
  Buffer<double> left;      ///< [n_cells, left]: sum of w_i a_i; only where asked for
  Buffer<double> right;     ///< [n_cells, right]: sum of w_i b_i; only where asked for
  Buffer<double> weights;   ///< [n_cells]: sum of w_i
};

/// Column sums of attention over some queries of one head.
struct ColumnTask {
  ConstMatrixView queries;  ///< [n, head_dim]
  ConstMatrixView keys;     ///< [n_tokens, head_dim]
  std::span<float> out;     ///< [n_tokens]; overwritten
};

/// Rows of attention of one head.
struct RowTask {
  ConstMatrixView queries;  ///< [n, head_dim]
  ConstMatrixView keys;     ///< [n_tokens, head_dim]
  MatrixView out;           ///< [n, n_tokens]; overwritten
};

/// How a matrix F in memory multiplies columns x.
enum class FactorForm {
  dense,        ///< F x
  transposed,   ///< F^T x
  trapezoidal,  ///< F x; F is [n, n or more] and holds zeros below its diagonal
};

/// The evaluation queries of a layer, and what is up for eviction before them.
struct ReplayInput {
  const LayerData* layer = nullptr;
  Range candidates;  ///< positions up for eviction; what comes after them is always visible
  Range query_rows;  ///< of the evaluation queries
  std::size_t n_policies_at_once = static_cast<std::size_t>(-1);  ///< between two calls of OutputSink::end_panel()
};

/// What a backend holds of a layer until this goes.
class Residency {
 public:
  virtual ~Residency() = default;
  /// Name of the device that holds it, and does the work, e.g. "NVIDIA H200".
  virtual std::string device() const = 0;
};

/// Safe to use from several threads at once.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  /// Tells that the primitives below will be asked about this layer's queries, keys and values, as a whole or in part,
  /// while the result lives: a device keeps them near. Nothing else changes, and nothing has to be held.
  /// \param data   outlives the result
  /// \param dtype  what the three were recorded in; they may be kept so where that is exact
  virtual std::unique_ptr<Residency> hold(const LayerData& /*data*/, DType /*dtype*/) { return nullptr; }

  /// The same of a matrix that projected_norms() will be asked about, near the layer's tensors where these are held.
  /// \param factor  outlives the result; rows contiguous
  virtual std::unique_ptr<Residency> hold(ConstMatrixView /*factor*/, const LayerData& /*data*/) { return nullptr; }

  /// Hands every evaluation query's full output and its errors under every selection to the sinks. Here panel by panel,
  /// over the primitives below.
  /// \param outputs  nullptr, or [n_q_heads, n_queries, value_dim] to be filled with the full-cache outputs
  virtual void replay(const ReplayInput& input, std::span<const LayerSelection> selections,
                      std::span<OutputSink* const> sinks, Tensor* outputs = nullptr);

  /// Attention weights of panels.
  /// \param keys       [n_tokens, head_dim], row i at position i
  /// \param key_range  positions to weigh; must hold everything that the queries see
  virtual void weigh(const AttentionRule& rule, const QueryPanels& panels, ConstMatrixView keys, Range key_range,
                     PanelWeights& out) = 0;

  /// Sums over cells of tokens, for some of the panels, in one walk.
  /// \param panels     which of them; the first is panel 0 of `out`
  /// \param values     [n_tokens, value_dim], row i at position i
  /// \param positions  token positions, cell by cell
  /// \param cell_ends  [n_cells] ends in `positions`
  virtual void sum_cells(const PanelWeights& weights, Range panels, ConstMatrixView values,
                         std::span<const std::uint32_t> positions, std::span<const std::size_t> cell_ends,
                         PanelSums& out) = 0;

  /// Sums of outer products over cells of tokens. Float64 throughout: the matrices that are made of them span many
  /// orders of magnitude, and what lies far below their largest direction counts.
  /// \param left, right  [n_tokens, any]; one view for both gives symmetric products for half the work
  /// \param weights      [n_tokens], not negative; empty: all 1
  /// \param rows         rows of the three, cell by cell
  /// \param cell_ends    [n_cells] ends in `rows`
  /// \param with_sides   whether OuterSums::left and right are wanted too
  virtual void sum_outer_products(ConstMatrixView left, ConstMatrixView right, std::span<const double> weights,
                                  std::span<const std::uint32_t> rows, std::span<const std::size_t> cell_ends,
                                  bool with_sides, OuterSums& out) = 0;

  /// From the sums of the cells and of the local tokens to errors at every budget. The error is formed as
  /// (Z_E / Z) (N_S / Z_S - N_E / Z_E), never as a difference of two nearly equal outputs; it is exactly 0 where
  /// nothing is evicted.
  /// \param cells  of one panel
  /// \param local  of the same panel: sums of the tokens that are always visible, one cell
  virtual void errors_at_budgets(const CellPlan& plan, const SumsView& cells, const SumsView& local,
                                 std::size_t value_dim, PanelErrors& out) = 0;

  /// Column sums of causal softmax attention: out[i] = sum over the queries of a_{t, i}. Streamed in panels, nothing of
  /// size n_queries x n_tokens is kept.
  /// \param positions  [n] of every task's queries
  virtual void attention_sums(const AttentionRule& rule, std::span<const std::size_t> positions,
                              std::span<const ColumnTask> tasks) = 0;

  /// Rows of causal softmax attention: out(r, i) = a_{t_r, i}, 0 where the query does not see the key. For few queries:
  /// `out` is dense.
  /// \param positions  [n] of every task's queries
  virtual void attention_rows(const AttentionRule& rule, std::span<const std::size_t> positions,
                              std::span<const RowTask> tasks) = 0;

  // ---- dense products

  /// norms[c] = squared norm of column c of F x or F^T x: float32 products, norms summed as by squared_column_norms().
  /// \param x      [columns of F, n], or of F^T; overwritten
  /// \param norms  [n]
  virtual void projected_norms(ConstMatrixView factor, FactorForm form, MatrixView x, std::span<double> norms) = 0;

  /// half_log_det() of each matrix, in float64; nothing for those that are not positive definite.
  /// \param matrices  all of one size; only their upper triangles are read
  virtual std::vector<std::optional<double>> half_log_dets(std::vector<Matrix64> matrices) = 0;

  /// sum_i w_i x_i x_i^T in float64, [cols, cols].
  /// \param weights  [rows], not negative; empty: all 1
  virtual Matrix64 gram(ConstMatrixView rows, std::span<const double> weights) = 0;

  /// out[i] = x_i^T M x_i in float64.
  /// \param matrix  [cols, cols], symmetric
  virtual std::vector<double> quadratic_forms(const Matrix64& matrix, ConstMatrixView rows) = 0;

  /// out[r] = norm of row r in float32, summed in one order whatever the row's place: equal rows have equal norms.
  /// \param out  [rows]
  virtual void row_norms(ConstMatrixView rows, Norm norm, std::span<float> out) = 0;
};

}  // namespace kvreplay
