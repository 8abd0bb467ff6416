#include "traces/synthetic/synthetic_trace.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "traces/synthetic/synthetic_head.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;

namespace {

/// A folder of its own for each test, gone at its end.
class Scratch {
 public:
  Scratch() : folder_(std::filesystem::temp_directory_path() / ("kvreplay_synthetic_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~Scratch() { std::filesystem::remove_all(folder_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  TraceReader trace(const std::string& name, const SyntheticTraceOptions& options) const {
    write_synthetic_trace(folder_ / name, options, false);
    return TraceReader(folder_ / name);
  }

 private:
  std::filesystem::path folder_;
};

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Small, but with every feature.
SyntheticTraceOptions small() {
  SyntheticTraceOptions o;
  o.n_layers = 2;
  o.n_q_heads = 4;
  o.n_kv_heads = 2;
  o.head_dim = o.value_dim = 16;
  o.n_prompt = 600;
  o.n_decode = 8;
  return o;
}

/// One KV head of each kind in layer 0, as kind_of_head() has it: 0 retrieval, 1 local, 2 sink.
SyntheticTraceOptions one_head_of_each_kind() {
  SyntheticTraceOptions o;
  o.n_layers = 1;
  o.n_q_heads = 6;
  o.n_kv_heads = 3;
  o.n_prompt = 2048;
  o.n_decode = 32;
  o.output_projection = false;
  return o;
}

/// softmax(scale * K q) over the tokens up to the query's own, float64 [position + 1].
std::vector<double> attention(const LayerData& data, std::size_t q_head, std::size_t row) {
  const auto query = data.queries.matrix(q_head).row(row);
  const auto keys = data.keys.matrix(q_head / data.model.group_size());
  std::vector<double> weights(data.query_positions[row] + 1);
  for (std::size_t token = 0; token < weights.size(); ++token) {
    double product = 0;
    for (std::size_t i = 0; i < query.size(); ++i) product += double{query[i]} * keys(token, i);
    weights[token] = std::exp(data.model.softmax_scale * product);
  }
  double sum = 0;
  for (const double w : weights) sum += w;
  for (double& w : weights) w /= sum;
  return weights;
}

/// Mean attention mass that the queries at [positions) give to tokens, which `tokens_of(position)` names.
double mean_mass(const LayerData& data, std::size_t q_head, Range positions,
                 const std::function<Range(std::size_t)>& tokens_of, std::size_t step = 1) {
  double mass = 0;
  std::size_t n = 0;
  for (std::size_t row = 0; row < data.query_positions.size(); ++row) {
    const std::size_t position = data.query_positions[row];
    if (position < positions.begin || position >= positions.end || position % step != 0) continue;
    const std::vector<double> weights = attention(data, q_head, row);
    const Range tokens = tokens_of(position);
    for (std::size_t token = tokens.begin; token < std::min(tokens.end, weights.size()); ++token)
      mass += weights[token];
    ++n;
  }
  REQUIRE(n > 0);
  return mass / static_cast<double>(n);
}

std::vector<Range> spans_named(const SampleInfo& sample, std::string_view name) {
  std::vector<Range> ranges;
  for (const Span& span : sample.spans)
    if (span.name == name) ranges.push_back(span.tokens);
  return ranges;
}

bool same_row(const Tensor& a, const Tensor& b, std::size_t head, std::size_t row) {
  return std::ranges::equal(a.matrix(head).row(row), b.matrix(head).row(row));
}

}  // namespace

TEST_CASE("the same options give the same bytes, another seed gives other ones") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  write_synthetic_trace(scratch / "a.h5", options, false);
  write_synthetic_trace(scratch / "b.h5", options, false);
  options.seed = 2;
  write_synthetic_trace(scratch / "c.h5", options, false);
  const std::string a = bytes_of(scratch / "a.h5");
  CHECK(a.size() > 100'000);
  CHECK((a == bytes_of(scratch / "b.h5")));
  CHECK((a != bytes_of(scratch / "c.h5")));
}

TEST_CASE("an existing trace is replaced only on demand") {
  const Scratch scratch;
  write_synthetic_trace(scratch / "a.h5", small(), false);
  CHECK_THROWS_AS(write_synthetic_trace(scratch / "a.h5", small(), false), UsageError);
  SyntheticTraceOptions options = small();
  options.n_decode = 9;
  write_synthetic_trace(scratch / "a.h5", options, true);
  CHECK(TraceReader(scratch / "a.h5").info().samples[0].n_tokens == 609);
}

namespace {

struct Shape {
  std::size_t n_q_heads, n_kv_heads, head_dim, value_dim, hidden_size, n_prompt, n_question, n_decode;
  DType dtype;
};
const Shape kShapes[] = {
    {.n_q_heads = 4,
     .n_kv_heads = 4,
     .head_dim = 16,
     .value_dim = 16,
     .hidden_size = 0,  // multi-head
     .n_prompt = 64,
     .n_question = 8,
     .n_decode = 8,
     .dtype = DType::float16},
    {.n_q_heads = 6,
     .n_kv_heads = 2,
     .head_dim = 20,
     .value_dim = 24,
     .hidden_size = 50,  // grouped
     .n_prompt = 777,
     .n_question = 13,
     .n_decode = 5,
     .dtype = DType::bfloat16},
    {.n_q_heads = 3,
     .n_kv_heads = 1,
     .head_dim = 7,
     .value_dim = 1,
     .hidden_size = 1,  // multi-query
     .n_prompt = 1025,
     .n_question = 1,
     .n_decode = 1,
     .dtype = DType::float32},
    {.n_q_heads = 1,
     .n_kv_heads = 1,
     .head_dim = 4,
     .value_dim = 5,
     .hidden_size = 3,  // the smallest
     .n_prompt = 23,
     .n_question = 2,
     .n_decode = 0,
     .dtype = DType::float16},
};

SyntheticTraceOptions options_of(const Shape& shape) {
  SyntheticTraceOptions options;
  options.n_samples = 2;
  options.n_layers = 3;
  options.n_q_heads = shape.n_q_heads;
  options.n_kv_heads = shape.n_kv_heads;
  options.head_dim = shape.head_dim;
  options.value_dim = shape.value_dim;
  options.hidden_size = shape.hidden_size;
  options.n_prompt = shape.n_prompt;
  options.n_question = shape.n_question;
  options.n_decode = shape.n_decode;
  options.dtype = shape.dtype;
  return options;
}

}  // namespace

TEST_CASE("any attention shape can be made") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.n_q_heads);
    CAPTURE(shape.n_kv_heads);
    const Scratch scratch;
    const TraceReader trace = scratch.trace("a.h5", options_of(shape));
    const TraceInfo& info = trace.info();
    const std::size_t n_tokens = shape.n_prompt + shape.n_decode;
    const std::size_t hidden = shape.hidden_size == 0 ? shape.n_q_heads * shape.value_dim : shape.hidden_size;
    CHECK(info.dtype == shape.dtype);
    CHECK(info.model.hidden_size == hidden);
    CHECK(info.model.softmax_scale == 1 / std::sqrt(static_cast<double>(shape.head_dim)));
    CHECK(info.layers.size() == 3);
    CHECK(info.samples.size() == 2);
    for (const SampleInfo& sample : info.samples) {
      CHECK(sample.n_tokens == n_tokens);
      CHECK(sample.decode_start == shape.n_prompt);
      CHECK(sample.token_source == "synthetic");
      CHECK(sample.token_ids.size() == n_tokens);
    }
    const LayerData data = trace.read_layer(1, 2);
    CHECK(data.queries.count() == shape.n_q_heads);
    CHECK(data.queries.rows() == n_tokens);
    CHECK(data.queries.cols() == shape.head_dim);
    CHECK(data.keys.count() == shape.n_kv_heads);
    CHECK(data.keys.rows() == n_tokens);
    CHECK(data.values.cols() == shape.value_dim);
    CHECK(data.output_projection.count() == shape.n_q_heads);
    CHECK(data.output_projection.rows() == shape.value_dim);
    CHECK(data.output_projection.cols() == hidden);
  }
}

TEST_CASE("samples, layers and heads differ") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  options.n_samples = 2;
  const TraceReader trace = scratch.trace("a.h5", options);
  const LayerData first = trace.read_layer(0, 0), other_sample = trace.read_layer(1, 0),
                  other_layer = trace.read_layer(0, 1);
  for (const std::size_t token : {0, 100, 607}) {
    CHECK_FALSE(same_row(first.keys, other_sample.keys, 0, token));
    CHECK_FALSE(same_row(first.values, other_layer.values, 0, token));
    CHECK_FALSE(std::ranges::equal(first.keys.matrix(0).row(token), first.keys.matrix(1).row(token)));
    CHECK_FALSE(std::ranges::equal(first.queries.matrix(0).row(token), first.queries.matrix(1).row(token)));
  }
  CHECK(trace.info().samples[0].token_ids != trace.info().samples[1].token_ids);
}

TEST_CASE("spans and compression points mark context, needles, question and the end of the prompt") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  options.n_needles = 3;
  options.needle_length = 7;
  const TraceReader trace = scratch.trace("a.h5", options);
  const SampleInfo& sample = trace.info().samples[0];
  CHECK(spans_named(sample, "context") == std::vector<Range>{{0, 568}});
  CHECK(spans_named(sample, "question") == std::vector<Range>{{568, 600}});
  const std::vector<Range> needles = spans_named(sample, "needle");
  REQUIRE(needles.size() == 3);
  std::size_t end = options.n_sinks;
  for (const Range& needle : needles) {
    CHECK(needle.size() == 7);
    CHECK(needle.begin >= end);
    end = needle.end;
  }
  CHECK(end <= 568);
  REQUIRE(sample.compression_points.size() == 2);
  CHECK(sample.compression_points[0].name == "context");
  CHECK(sample.compression_points[0].position == 568);
  CHECK(sample.compression_points[1].name == "prompt");
  CHECK(sample.compression_points[1].position == 600);
}

TEST_CASE("a point of compression with nothing after it is left out") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  options.n_decode = 0;
  CHECK(scratch.trace("no_answer.h5", options).info().samples[0].compression_points[0].name == "context");
  options = small();
  options.n_question = 0;
  const TraceReader no_question = scratch.trace("no_question.h5", options);
  REQUIRE(no_question.info().samples[0].compression_points.size() == 1);
  CHECK(no_question.info().samples[0].compression_points[0].name == "prompt");
  CHECK(spans_named(no_question.info().samples[0], "question").empty());
}

TEST_CASE("needles and sinks may fill the whole context") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  options.n_prompt = 40;
  options.n_question = 4;
  options.n_sinks = 4;
  options.n_needles = 4;  // 4 + 4 * 8 = 36 tokens of context
  const TraceReader trace = scratch.trace("a.h5", options);
  CHECK(spans_named(trace.info().samples[0], "needle") == std::vector<Range>{{4, 12}, {12, 20}, {20, 28}, {28, 36}});
  options.n_sinks = 0;
  options.n_needles = 1;
  options.needle_length = 36;  // begins where the context begins
  CHECK_NOTHROW(scratch.trace("b.h5", options));
}

TEST_CASE("queries of the last 128 prompt tokens are those of the whole prompt") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  const LayerData whole = scratch.trace("whole.h5", options).read_layer(0, 0);
  options.prompt_queries = false;
  const LayerData end = scratch.trace("end.h5", options).read_layer(0, 0);
  REQUIRE(end.queries.rows() == 128 + 8);
  CHECK(end.query_positions.front() == 600 - 128);
  CHECK(end.query_positions.back() == 607);
  for (std::size_t head = 0; head < 4; ++head)
    for (std::size_t row = 0; row < end.queries.rows(); ++row)
      CHECK(std::ranges::equal(end.queries.matrix(head).row(row),
                               whole.queries.matrix(head).row(end.query_positions[row])));
}

TEST_CASE("sliding windows lie on every second layer, and the softcap is recorded") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  options.n_layers = 4;
  options.sliding_window = 100;
  options.logit_softcap = 30;
  const TraceReader trace = scratch.trace("a.h5", options);
  CHECK(trace.info().model.logit_softcap == 30);
  std::vector<std::size_t> windows;
  for (const LayerInfo& layer : trace.info().layers) windows.push_back(layer.sliding_window);
  CHECK(windows == std::vector<std::size_t>{100, 0, 100, 0});
}

TEST_CASE("a longer trace begins like a shorter one") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  options.n_needles = 0;
  const LayerData brief = scratch.trace("brief.h5", options).read_layer(0, 1);
  options.n_prompt = 1500;
  options.n_decode = 0;
  const LayerData lengthy = scratch.trace("lengthy.h5", options).read_layer(0, 1);
  for (std::size_t token = 0; token < brief.n_tokens(); ++token) {
    CAPTURE(token);
    CHECK(same_row(brief.keys, lengthy.keys, 1, token));
    CHECK(same_row(brief.values, lengthy.values, 1, token));
    CHECK(same_row(brief.queries, lengthy.queries, 3, token));
  }
}

TEST_CASE("only needles, and queries that look for them, know how long a trace is") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();
  const TraceReader brief = scratch.trace("brief.h5", options);
  options.n_prompt = 1500;
  const TraceReader lengthy = scratch.trace("lengthy.h5", options);
  std::vector<Range> needles = spans_named(brief.info().samples[0], "needle");
  std::ranges::copy(spans_named(lengthy.info().samples[0], "needle"), std::back_inserter(needles));
  const LayerData a = brief.read_layer(0, 0), b = lengthy.read_layer(0, 0);
  std::size_t n_compared = 0;
  for (std::size_t token = 0; token < a.n_tokens(); ++token) {
    if (std::ranges::any_of(needles, [&](Range r) { return token >= r.begin && token < r.end; })) continue;
    CAPTURE(token);
    CHECK(same_row(a.keys, b.keys, 0, token));
    CHECK(same_row(a.values, b.values, 0, token));
    if (token < 568) CHECK(same_row(a.queries, b.queries, 0, token));
    ++n_compared;
  }
  CHECK(n_compared > 568);
}

TEST_CASE("sinks attract every head, and sink heads most of all") {
  const Scratch scratch;
  SyntheticTraceOptions options = one_head_of_each_kind();
  const LayerData with = scratch.trace("with.h5", options).read_layer(0, 0);
  options.sink_strength = 0;
  const LayerData without = scratch.trace("without.h5", options).read_layer(0, 0);
  const auto mass = [](const LayerData& data, HeadKind kind) {
    return mean_mass(
        data, 2 * static_cast<std::size_t>(kind), {1024, 2016},
        [](std::size_t) {
          return Range{0, 4};
        },
        16);
  };
  CHECK(mass(with, HeadKind::sink) > 0.4);
  CHECK(mass(with, HeadKind::retrieval) > 0.03);  // 4 of about 1500 tokens
  CHECK(mass(with, HeadKind::local) > 0.005);
  for (const HeadKind kind : {HeadKind::sink, HeadKind::retrieval, HeadKind::local}) {
    CAPTURE(static_cast<int>(kind));
    CHECK(mass(without, kind) < 0.002);
  }
}

TEST_CASE("values of sinks are small and their keys short") {
  const Scratch scratch;
  const LayerData data = scratch.trace("a.h5", one_head_of_each_kind()).read_layer(0, 0);
  const auto mean_norm = [](const Tensor& tensor, Range tokens) {
    double sum = 0;
    for (std::size_t token = tokens.begin; token < tokens.end; ++token) {
      double squares = 0;
      for (const float x : tensor.matrix(0).row(token)) squares += double{x} * x;
      sum += std::sqrt(squares);
    }
    return sum / static_cast<double>(tokens.size());
  };
  CHECK(mean_norm(data.values, {0, 4}) < 0.1 * mean_norm(data.values, {4, 2080}));
  CHECK(mean_norm(data.keys, {0, 4}) < 0.8 * mean_norm(data.keys, {4, 2080}));
}

TEST_CASE("attention of a local head decays with distance") {
  const Scratch scratch;
  const LayerData data = scratch.trace("a.h5", one_head_of_each_kind()).read_layer(0, 0);
  const auto mass_per_token = [&](HeadKind kind, std::size_t nearest, std::size_t farthest) {
    const auto tokens_of = [&](std::size_t position) { return Range{position + 1 - farthest, position + 1 - nearest}; };
    return mean_mass(data, 2 * static_cast<std::size_t>(kind), {1040, 2016}, tokens_of, 16) /
           static_cast<double>(farthest - nearest);
  };
  const double newest = mass_per_token(HeadKind::local, 0, 8);
  const double near = mass_per_token(HeadKind::local, 8, 32);
  const double middle = mass_per_token(HeadKind::local, 32, 128);
  const double far = mass_per_token(HeadKind::local, 128, 1024);
  CHECK(newest > 1.5 * near);
  CHECK(near > 1.5 * middle);
  CHECK(middle > 1.5 * far);
  CHECK(8 * newest + 24 * near + 96 * middle > 0.6);  // most of it within 128 tokens
  CHECK(newest > 3 * mass_per_token(HeadKind::retrieval, 0, 8));
}

TEST_CASE("question and answer attend the needle they look for, in retrieval heads") {
  const Scratch scratch;
  const TraceReader trace = scratch.trace("a.h5", one_head_of_each_kind());
  const std::vector<Range> needles = spans_named(trace.info().samples[0], "needle");
  REQUIRE(needles.size() == 2);
  const LayerData data = trace.read_layer(0, 0);
  // The question begins at 2016: even positions look for the first needle, odd ones for the second.
  const auto sought = [&](std::size_t position) { return needles[position % 2]; };
  const auto other = [&](std::size_t position) { return needles[1 - position % 2]; };
  for (const Range& positions : {Range{2016, 2048}, Range{2048, 2080}}) {
    for (const std::size_t q_head : {0, 1}) {
      CAPTURE(positions.begin);
      CAPTURE(q_head);
      CHECK(mean_mass(data, q_head, positions, sought) > 0.5);
      CHECK(mean_mass(data, q_head, positions, other) < 0.05);
    }
    CHECK(mean_mass(data, 2, positions, sought) < 0.1);  // the local head
  }
  CHECK(mean_mass(data, 0, {1900, 2016}, sought) < 0.05);  // the context asks for nothing
}

TEST_CASE("needles and sinks hold their attention in a context eight times as long") {
  const Scratch scratch;
  SyntheticTraceOptions options = one_head_of_each_kind();
  options.n_prompt = 16384;
  options.prompt_queries = false;
  const TraceReader trace = scratch.trace("a.h5", options);
  const std::vector<Range> needles = spans_named(trace.info().samples[0], "needle");
  const LayerData data = trace.read_layer(0, 0);
  const Range question{16384 - 32, 16384};
  CHECK(mean_mass(data, 0, question, [&](std::size_t position) { return needles[position % 2]; }) > 0.5);
  CHECK(mean_mass(data, 4, question, [](std::size_t) { return Range{0, 4}; }) > 0.2);
}

TEST_CASE("the strongest structure still fits into float16") {
  const Scratch scratch;
  for (const std::size_t head_dim : {4, 1024}) {
    SyntheticTraceOptions options = small();
    options.head_dim = head_dim;
    options.recency = options.sink_strength = options.needle_strength = 100;
    options.n_layers = 3;
    const TraceReader trace = scratch.trace(head_dim == 4 ? "narrow.h5" : "wide.h5", options);
    for (std::size_t layer = 0; layer < 3; ++layer) CHECK_NOTHROW(trace.read_layer(0, layer));
  }
}

TEST_CASE("rotating keys back by the recorded frequencies gives the same mean all over the text") {
  const Scratch scratch;
  const TraceReader trace = scratch.trace("a.h5", one_head_of_each_kind());
  const LayerData data = trace.read_layer(0, 0);
  const Rope& rope = trace.info().layers[0].rope;
  REQUIRE(rope.layout == RopeLayout::half);
  REQUIRE(rope.inv_freq.size() == 16);
  const std::size_t n_pairs = rope.inv_freq.size();
  const auto mean_unrotated = [&](Range tokens) {
    std::vector<double> mean(2 * n_pairs);
    for (std::size_t token = tokens.begin; token < tokens.end; ++token) {
      const auto key = data.keys.matrix(0).row(token);
      for (std::size_t i = 0; i < n_pairs; ++i) {
        const double angle = static_cast<double>(token) * rope.inv_freq[i];
        mean[i] += key[i] * std::cos(angle) + key[i + n_pairs] * std::sin(angle);
        mean[i + n_pairs] += key[i + n_pairs] * std::cos(angle) - key[i] * std::sin(angle);
      }
    }
    for (double& x : mean) x /= static_cast<double>(tokens.size());
    return mean;
  };
  const std::vector<double> early = mean_unrotated({100, 700}), late = mean_unrotated({1400, 2000});
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < early.size(); ++i) {
    difference += (early[i] - late[i]) * (early[i] - late[i]);
    norm += early[i] * early[i];
  }
  CHECK(std::sqrt(norm) > 7);          // 16 pairs of length 2
  CHECK(std::sqrt(difference) < 0.7);  // noise of sqrt(32 * 2 / 600) = 0.33
}

TEST_CASE("the output projection keeps lengths and hardly mixes its outputs") {
  const Scratch scratch;
  SyntheticTraceOptions options = small();  // 64 inputs, 64 outputs
  options.n_q_heads = 16;
  options.hidden_size = 32;  // 256 inputs, 32 outputs
  const LayerData data = scratch.trace("a.h5", options).read_layer(0, 1);
  const auto column_product = [&](std::size_t a, std::size_t b) {
    double sum = 0;
    for (std::size_t head = 0; head < 16; ++head)
      for (std::size_t i = 0; i < 16; ++i)
        sum += double{data.output_projection.matrix(head)(i, a)} * data.output_projection.matrix(head)(i, b);
    return sum;
  };
  for (std::size_t a = 0; a < 32; ++a) {
    CHECK(column_product(a, a) == doctest::Approx(1).epsilon(0.4));
    for (std::size_t b = 0; b < a; ++b) CHECK(std::abs(column_product(a, b)) < 0.3);  // deviation 1 / 16
  }
}

TEST_CASE("options that contradict each other are refused with their values") {
  struct Bad {
    std::function<void(SyntheticTraceOptions&)> spoil;
    std::string expected;
  };
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  using O = SyntheticTraceOptions;
  const Bad table[] = {
      {[](O& o) { o.n_samples = 0; }, "the number of samples is 0"},
      {[](O& o) { o.n_layers = 0; }, "the number of layers is 0"},
      {[](O& o) { o.n_q_heads = 0; }, "the number of query heads is 0"},
      {[](O& o) { o.n_kv_heads = 0; }, "the number of KV heads is 0"},
      {[](O& o) { o.n_kv_heads = 3; }, "4 query heads cannot share 3 KV heads"},
      {[](O& o) { o.n_kv_heads = 8; }, "4 query heads cannot share 8 KV heads"},
      {[](O& o) { o.head_dim = 3; }, "the head dimension is 3"},
      {[](O& o) { o.head_dim = 1025; }, "the head dimension is 1025"},
      {[](O& o) { o.value_dim = 0; }, "the value dimension is 0"},
      {[](O& o) { o.value_dim = 1025; }, "the value dimension is 1025"},
      {[](O& o) { o.n_prompt = 0; }, "the prompt's length is 0"},
      {[](O& o) { o.n_prompt = huge; }, "the prompt's length is 18446744073709551615"},
      {[](O& o) { o.n_decode = huge; }, "the number of decoded tokens is 18446744073709551615"},
      {[](O& o) { o.n_question = 600; }, "a question of 600 tokens leaves no context in a prompt of 600"},
      {[](O& o) { o.n_question = huge; }, "a question of 18446744073709551615 tokens"},
      {[](O& o) { o.n_question = o.n_decode = 0; }, "nothing comes after the 600 tokens"},
      {[](O& o) { o.n_sinks = 569; }, "569 sinks in a context of 568 tokens"},
      {[](O& o) { o.needle_length = 0; }, "the needles' length is 0"},
      {[](O& o) { o.n_needles = 71; }, "71 needles of 8 tokens do not fit into the 564 tokens"},
      {[](O& o) { o.n_needles = huge; }, "18446744073709551615 needles of 8 tokens"},
      {[](O& o) { o.n_clusters = 0; }, "the number of clusters is 0"},
      {[](O& o) { o.recency = nan; }, "the recency is nan"},
      {[](O& o) { o.sink_strength = -1; }, "the sinks' strength is -1"},
      {[](O& o) { o.needle_strength = 101; }, "the needles' strength is 101"},
      {[](O& o) { o.logit_softcap = -2; }, "the logit softcap is -2"},
      {[](O& o) { o.hidden_size = huge; }, "the hidden size is 18446744073709551615"},
      {[](O& o) { o.n_q_heads = 4096, o.hidden_size = 1 << 20; }, "an output projection of 4096 x 16 x 1048576 takes"},
      {[](O& o) { o.n_samples = 100'000, o.n_layers = 1000, o.n_prompt = 1 << 20; }, "it would take"},
  };
  const Scratch scratch;
  for (const Bad& bad : table) {
    CAPTURE(bad.expected);
    SyntheticTraceOptions options = small();
    bad.spoil(options);
    std::string message;
    try {
      write_synthetic_trace(scratch / "a.h5", options, false);
    } catch (const UsageError& error) {
      message = error.what();
    }
    CHECK_MESSAGE(message.find(bad.expected) != std::string::npos, message);
    CHECK_FALSE(std::filesystem::exists(scratch / "a.h5"));
  }
}
