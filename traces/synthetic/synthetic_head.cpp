#include "traces/synthetic/synthetic_head.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace kvreplay {
namespace {

// Keys. A query's coefficient on a direction is the wanted logit bonus * sqrt(head_dim) / the key's coefficient.
constexpr float kKeyNoise = 1.0f;
constexpr float kSinkKeyNoise = 0.25f;  // sinks have short keys, as in real models
constexpr float kSharedCoefficient = 8.0f;
constexpr float kNeedleCoefficient = 10.0f;
constexpr float kTopicCoefficient = 4.0f;
constexpr float kRecencyCoefficient = 2.0f;
constexpr float kSalience = 0.5f;  // of the most salient token, as a share of a sink's

// Queries
constexpr float kQueryNoise = 0.8f;
constexpr float kDeepTopicBonus = 2.0f;    // logits; half of it in the first layer
constexpr float kSearchTopicShare = 0.5f;  // of that bonus, for a query that looks for a needle
constexpr float kSpread = 0.1f;            // query heads of a group differ by as much, relatively
constexpr double kReferenceLength = 2048;

// Values
constexpr float kClusterValue = 0.8f;
constexpr float kNeedleValue = 1.5f;
constexpr float kValueNoise = 0.6f;
constexpr float kNeedleValueNoise = 0.3f;
constexpr float kSinkValueNoise = 0.05f;  // sinks carry next to nothing

enum WeightStream : std::uint64_t { shared_axis, recency_phases, centres, cluster_means, query_heads };
enum ContentStream : std::uint64_t { tokens, needle_keys, needle_means };
enum TokenStream : std::uint64_t { key_noise, value_noise, salience, first_query_noise };

/// How strongly a head uses each part; 1 is what the options say.
struct Focus {
  float sink, recency, topic, needle;
};

Focus focus_of(HeadKind kind) {
  switch (kind) {
    case HeadKind::local:
      return {.sink = 1.0f, .recency = 4.0f, .topic = 0.5f, .needle = 0.0f};
    case HeadKind::sink:
      return {.sink = 1.4f, .recency = 0.5f, .topic = 0.5f, .needle = 0.0f};
    case HeadKind::retrieval:
      break;
  }
  return {.sink = 1.0f, .recency = 1.0f, .topic = 1.0f, .needle = 1.0f};
}

[[maybe_unused]] bool in_one_block(std::size_t first, MatrixView rows) {
  return rows.rows <= SyntheticRope::kBlock - first % SyntheticRope::kBlock;
}

/// Summed in eight lanes: fast without -ffast-math, in an order that no compiler changes.
float dot(std::span<const float> a, std::span<const float> b) {
  constexpr std::size_t kLanes = 8;
  std::array<float, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= a.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  for (; i < a.size(); ++i) sums[0] += a[i] * b[i];
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

void add_scaled(std::span<float> out, std::span<const float> direction, float scale) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] += scale * direction[i];
}

/// Sets the component of `row` along a unit vector.
void set_component(std::span<float> row, std::span<const float> unit, float coefficient) {
  add_scaled(row, unit, coefficient - dot(row, unit));
}

void normalise(std::span<float> row) {
  const float norm = std::sqrt(dot(row, row));
  if (norm == 0) return;  // one dimension, and the axis took it
  for (float& x : row) x /= norm;
}

/// Random unit vectors orthogonal to `axis`, and to each other as long as there is room, in the dimensions `support`
/// but for the little that the axis takes off elsewhere.
void fill_unit_rows(Tensor& tensor, Range support, CounterRng rng, std::span<const float> axis) {
  const MatrixView rows = tensor.matrix(0);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const std::span<float> row = rows.row(r);
    std::ranges::fill(row, 0.0f);
    rng.stream(r).fill_normal(row.subspan(support.begin, support.size()), 1);
    set_component(row, axis, 0);
    if (r < support.size())
      for (std::size_t previous = 0; previous < r; ++previous) set_component(row, rows.row(previous), 0);
    normalise(row);
  }
}

void fill_normal_rows(Tensor& rows, CounterRng rng, float deviation) {
  for (std::size_t r = 0; r < rows.rows(); ++r) rng.stream(r).fill_normal(rows.matrix(0).row(r), deviation);
}

/// A few tokens matter to every query (one in twelve more than half of the maximum), most to none.
float salience_of(float uniform) {
  const float square = uniform * uniform;
  return kSalience * (square * square) * (square * square);
}

/// Attention thins out as the context grows unless its logits grow with the logarithm of the length, which models
/// trained on long contexts learn (and some build in: "log-n scaling").
float sharpness_at(std::size_t position) {
  const double length = static_cast<double>(position) + 1;
  return length <= kReferenceLength ? 1 : static_cast<float>(std::log(length) / std::log(kReferenceLength));
}

/// Deeper layers attend by content more.
float topic_bonus_of(std::size_t layer) { return layer == 0 ? kDeepTopicBonus / 2 : kDeepTopicBonus; }

}  // namespace

SyntheticHead::SyntheticHead(const SyntheticTraceOptions& options, const SyntheticText& text, const SyntheticRope& rope,
                             std::size_t layer, std::size_t kv_head)
    : options_(options),
      text_(text),
      rope_(rope),
      topic_bonus_(topic_bonus_of(layer)),
      kind_(kind_of_head(layer, kv_head)),
      content_begin_(2 * rope.n_pairs()),
      weights_(CounterRng(options.seed).stream(head_stream, layer, kv_head)),
      tokens_(text.rng(SampleStream::heads).stream(layer, kv_head, tokens)),
      recency_(content_begin_),
      shared_(options.head_dim - content_begin_),
      centres_(1, options.n_clusters, shared_.size()),
      needles_(1, options.n_needles, shared_.size()),
      cluster_values_(1, options.n_clusters, options.value_dim),
      needle_values_(1, options.n_needles, options.value_dim) {
  const CounterRng content = text.rng(SampleStream::heads).stream(layer, kv_head);
  for (std::size_t i = 0; i < rope.n_pairs(); ++i) {
    float pair[2] = {weights_.stream(recency_phases).normal(2 * i), weights_.stream(recency_phases).normal(2 * i + 1)};
    normalise(pair);
    recency_[i] = pair[0];
    recency_[rope.n_pairs() + i] = pair[1];
  }
  weights_.stream(shared_axis).fill_normal(shared_, 1);
  normalise(shared_);
  // Apart from each other, lest the search for a needle finds a topic.
  const std::size_t half = shared_.size() / 2;
  fill_unit_rows(centres_, {0, half}, weights_.stream(centres), shared_);
  fill_unit_rows(needles_, {half, shared_.size()}, content.stream(needle_keys), shared_);
  fill_normal_rows(cluster_values_, weights_.stream(cluster_means), kClusterValue);
  fill_normal_rows(needle_values_, content.stream(needle_means), kNeedleValue);
}

void SyntheticHead::fill_keys(std::size_t first, MatrixView rows) const {
  assert(in_one_block(first, rows));
  const std::vector<float> angles = rope_.angles_of_block(first / SyntheticRope::kBlock);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const std::size_t token = first + r;
    const CounterRng rng = tokens_.stream(token);
    const std::span<float> row = rows.row(r);
    const std::span<float> content = row.subspan(content_begin_);
    const bool is_sink = text_.is_sink(token);
    rng.stream(key_noise).fill_normal(row, is_sink ? kSinkKeyNoise : kKeyNoise);
    if (is_sink) {
      set_component(content, shared_, kSharedCoefficient);
      continue;
    }
    set_component(content, shared_, kSharedCoefficient * salience_of(rng.uniform(salience)));
    if (const auto needle = text_.needle_at(token))
      add_scaled(content, needles_.matrix(0).row(*needle), kNeedleCoefficient);
    else
      add_scaled(content, centres_.matrix(0).row(text_.cluster(token)), kTopicCoefficient);
    rope_.add_rotated(angles, token % SyntheticRope::kBlock, recency_, kRecencyCoefficient, row);
  }
}

void SyntheticHead::fill_values(std::size_t first, MatrixView rows) const {
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const std::size_t token = first + r;
    const CounterRng rng = tokens_.stream(token).stream(value_noise);
    const std::span<float> row = rows.row(r);
    if (text_.is_sink(token)) {
      rng.fill_normal(row, kSinkValueNoise);
    } else if (const auto needle = text_.needle_at(token)) {
      rng.fill_normal(row, kNeedleValueNoise);
      add_scaled(row, needle_values_.matrix(0).row(*needle), 1);
    } else {
      rng.fill_normal(row, kValueNoise);
      add_scaled(row, cluster_values_.matrix(0).row(text_.cluster(token)), 1);
    }
  }
}

void SyntheticHead::fill_queries(std::size_t member, std::size_t first, MatrixView rows) const {
  assert(in_one_block(first, rows));
  const std::vector<float> angles = rope_.angles_of_block(first / SyntheticRope::kBlock);
  const Focus focus = focus_of(kind_);
  const float root = std::sqrt(static_cast<float>(options_.head_dim));
  // The key coefficient and the bonus in logits give the query coefficient; `part` only tells the four draws apart.
  const auto coefficient = [&](double bonus, float key_coefficient, std::uint64_t part) {
    const float spread = 1 + kSpread * (2 * weights_.stream(query_heads).uniform(4 * member + part) - 1);
    return static_cast<float>(bonus) * spread * root / key_coefficient;
  };
  const float sink = coefficient(focus.sink * options_.sink_strength, kSharedCoefficient, 0);
  const float needle = coefficient(focus.needle * options_.needle_strength, kNeedleCoefficient, 1);
  const float topic = coefficient(focus.topic * topic_bonus_, kTopicCoefficient, 2);
  const float recency =
      coefficient(focus.recency * options_.recency, kRecencyCoefficient * static_cast<float>(rope_.n_pairs()), 3);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const std::size_t position = first + r;
    const std::span<float> row = rows.row(r);
    const std::span<float> content = row.subspan(content_begin_);
    const float sharpness = sharpness_at(position);
    tokens_.stream(position, first_query_noise + member).fill_normal(row, kQueryNoise);
    set_component(content, shared_, sharpness * sink);
    const std::optional<std::size_t> sought = needle == 0 ? std::nullopt : text_.needle_sought(position);
    if (sought) add_scaled(content, needles_.matrix(0).row(*sought), sharpness * needle);
    const TopicMix mix = text_.topic(position);
    const float affinity = sharpness * topic * (sought ? kSearchTopicShare : 1);
    add_scaled(content, centres_.matrix(0).row(mix.from), affinity * (1 - mix.weight));
    add_scaled(content, centres_.matrix(0).row(mix.to), affinity * mix.weight);
    rope_.add_rotated(angles, position % SyntheticRope::kBlock, recency_, sharpness * recency, row);
  }
}

}  // namespace kvreplay
