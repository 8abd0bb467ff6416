#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/support/trace_fixture.h"
#include "traces/hdf5/hdf5.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

void check_same_info(const TraceInfo& found, const TraceInfo& expected) {
  CHECK(found.creator == expected.creator);
  CHECK(found.created == expected.created);
  CHECK(found.dtype == expected.dtype);
  CHECK(found.model.model_id == expected.model.model_id);
  CHECK(found.model.model_config == expected.model.model_config);
  CHECK(found.model.n_layers == expected.model.n_layers);
  CHECK(found.model.n_q_heads == expected.model.n_q_heads);
  CHECK(found.model.n_kv_heads == expected.model.n_kv_heads);
  CHECK(found.model.head_dim == expected.model.head_dim);
  CHECK(found.model.value_dim == expected.model.value_dim);
  CHECK(found.model.hidden_size == expected.model.hidden_size);
  CHECK(found.model.softmax_scale == expected.model.softmax_scale);
  CHECK(found.model.logit_softcap == expected.model.logit_softcap);
  CHECK(found.model.rope.layout == expected.model.rope.layout);
  CHECK(found.model.rope.inv_freq == expected.model.rope.inv_freq);
  CHECK(found.model.rope.attention_scaling == expected.model.rope.attention_scaling);
  REQUIRE(found.layers.size() == expected.layers.size());
  for (std::size_t l = 0; l < found.layers.size(); ++l) {
    CHECK(found.layers[l].index == expected.layers[l].index);
    CHECK(found.layers[l].sliding_window == expected.layers[l].sliding_window);
    CHECK(found.layers[l].has_output_projection == expected.layers[l].has_output_projection);
    CHECK(found.layers[l].rope.layout == expected.layers[l].rope.layout);
    CHECK(found.layers[l].rope.inv_freq == expected.layers[l].rope.inv_freq);
    CHECK(found.layers[l].rope.attention_scaling == expected.layers[l].rope.attention_scaling);
  }
  REQUIRE(found.samples.size() == expected.samples.size());
  for (std::size_t s = 0; s < found.samples.size(); ++s) {
    const SampleInfo &a = found.samples[s], &b = expected.samples[s];
    CHECK(a.name == b.name);
    CHECK(a.n_tokens == b.n_tokens);
    CHECK(a.decode_start == b.decode_start);
    CHECK(a.token_source == b.token_source);
    CHECK(a.token_ids == b.token_ids);
    CHECK(a.token_texts == b.token_texts);
    CHECK(a.query_ranges == b.query_ranges);
    CHECK(a.forward_begins == b.forward_begins);
    CHECK(a.has_block_cosine == b.has_block_cosine);
    REQUIRE(a.spans.size() == b.spans.size());
    for (std::size_t i = 0; i < a.spans.size(); ++i) {
      CHECK(a.spans[i].name == b.spans[i].name);
      CHECK(a.spans[i].tokens == b.spans[i].tokens);
    }
    REQUIRE(a.compression_points.size() == b.compression_points.size());
    for (std::size_t i = 0; i < a.compression_points.size(); ++i) {
      CHECK(a.compression_points[i].name == b.compression_points[i].name);
      CHECK(a.compression_points[i].position == b.compression_points[i].position);
    }
    REQUIRE(a.probes.size() == b.probes.size());
    for (std::size_t i = 0; i < a.probes.size(); ++i) {
      CHECK(a.probes[i].compression_point == b.probes[i].compression_point);
      CHECK(a.probes[i].n_rows == b.probes[i].n_rows);
      CHECK(a.probes[i].chunks == b.probes[i].chunks);
    }
    REQUIRE(a.sensitivities.size() == b.sensitivities.size());
    for (std::size_t i = 0; i < a.sensitivities.size(); ++i) {
      CHECK(a.sensitivities[i].compression_point == b.sensitivities[i].compression_point);
      CHECK(a.sensitivities[i].keep_first == b.sensitivities[i].keep_first);
      CHECK(a.sensitivities[i].level == b.sensitivities[i].level);
      CHECK(a.sensitivities[i].seed == b.sensitivities[i].seed);
      CHECK(a.sensitivities[i].target_mask == b.sensitivities[i].target_mask);
      CHECK(a.sensitivities[i].perturbed_kl == b.sensitivities[i].perturbed_kl);
    }
  }
}

std::size_t wrong_values(const Tensor& found, TraceTensor tensor, std::size_t sample, std::size_t layer) {
  std::size_t n_wrong = 0;
  for (std::size_t h = 0; h < found.count(); ++h)
    for (std::size_t r = 0; r < found.rows(); ++r)
      for (std::size_t c = 0; c < found.cols(); ++c)
        n_wrong += found.matrix(h)(r, c) != expected_value(tensor, sample, layer, h, r, c);
  return n_wrong;
}

void check_same_tensor(const Tensor& found, const Tensor& expected) {
  CHECK(found.count() == expected.count());
  CHECK(found.rows() == expected.rows());
  CHECK(found.cols() == expected.cols());
  CHECK(std::ranges::equal(found.values(), expected.values()));
}

void check_layer(const TraceReader& reader, std::size_t s, std::size_t l) {
  const SampleInfo& sample = reader.info().samples[s];
  const LayerData data = reader.read_layer(s, l);
  CHECK(data.layer.index == reader.info().layers[l].index);
  CHECK(data.query_positions == sample.query_positions());
  CHECK(data.queries.count() == 4);
  CHECK(data.queries.rows() == sample.n_recorded_queries());
  CHECK(data.queries.cols() == 6);
  CHECK(data.keys.count() == 2);
  CHECK(data.keys.rows() == sample.n_tokens);
  CHECK(data.values.cols() == 4);
  CHECK(wrong_values(data.queries, TraceTensor::queries, s, l) == 0);
  CHECK(wrong_values(data.keys, TraceTensor::keys, s, l) == 0);
  CHECK(wrong_values(data.values, TraceTensor::values, s, l) == 0);
  REQUIRE(data.output_projection.empty() == !data.layer.has_output_projection);
  if (data.output_projection.empty()) return;
  CHECK(data.output_projection.count() == 4);
  CHECK(data.output_projection.rows() == 4);
  CHECK(data.output_projection.cols() == 10);
  std::size_t n_wrong = 0;
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t r = 0; r < 4; ++r)
      for (std::size_t c = 0; c < 10; ++c)
        n_wrong += data.output_projection.matrix(h)(r, c) != expected_projection(l, h * 4 + r, c);
  CHECK(n_wrong == 0);
}

}  // namespace

TEST_CASE("a trace reads back as it was written, in each dtype, raw and gzipped") {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32})
    for (const bool gzip : {false, true}) {
      CAPTURE(name_of(dtype));
      CAPTURE(gzip);
      const TraceInfo info = small_info(dtype);
      write_trace(folder / "trace.h5", info, {.gzip = gzip, .overwrite = true});
      CHECK_FALSE(std::filesystem::exists(folder / "trace.h5.tmp"));
      const TraceReader reader(folder / "trace.h5");
      check_same_info(reader.info(), info);
      for (std::size_t s = 0; s < 2; ++s)
        for (std::size_t l = 0; l < 2; ++l) check_layer(reader, s, l);
      CHECK(reader.read_layer(0, 1).block_cosine.size() == 40);
      CHECK(reader.read_layer(0, 1).block_cosine[3] == 1.0f / 5);
      CHECK(reader.read_layer(1, 0).block_cosine.empty());
    }
}

TEST_CASE("probes are read for the compression point that they belong to") {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32})
    for (const bool gzip : {false, true}) {
      const TraceInfo info = small_info(dtype);
      write_trace(folder / "trace.h5", info, {.gzip = gzip, .overwrite = true});
      const TraceReader reader(folder / "trace.h5");
      for (std::size_t l = 0; l < 2; ++l) {
        const std::optional<LayerProbes> found = reader.read_probes(0, l, "prompt");
        REQUIRE(found.has_value());
        const ProbeInfo& probe = info.samples[0].probes[0];
        CHECK(found->chunks == probe.chunks);
        check_same_tensor(found->queries, probe_tensor(info, probe, TraceTensor::queries, 0, l));
        check_same_tensor(found->keys, probe_tensor(info, probe, TraceTensor::keys, 0, l));
        CHECK_FALSE(reader.read_probes(0, l, "context").has_value());
        CHECK_FALSE(reader.read_probes(0, l, "elsewhere").has_value());
        CHECK_FALSE(reader.read_probes(1, l, "prompt").has_value());
      }
    }
}

TEST_CASE("sensitivities are read for the compression point that they belong to, bytes as they are") {
  const TemporaryFolder folder;
  for (const bool gzip : {false, true}) {
    const TraceInfo info = small_info();
    write_trace(folder / "trace.h5", info, {.gzip = gzip, .overwrite = true});
    const TraceReader reader(folder / "trace.h5");
    for (std::size_t l = 0; l < 2; ++l) {
      const std::optional<LayerSensitivity> found = reader.read_sensitivity(0, l, "prompt");
      REQUIRE(found.has_value());
      const SensitivityInfo& expected = info.samples[0].sensitivities[0];
      CHECK(found->level == expected.level);
      CHECK(found->n_queries == 5);
      CHECK(found->n_targets == 4);
      CHECK(std::ranges::equal(found->gradient.span(), expected_gradient(expected, l)));
      CHECK(found->scale == expected_scale(expected, l));
      CHECK_FALSE(reader.read_sensitivity(0, l, "context").has_value());
      CHECK_FALSE(reader.read_sensitivity(1, l, "prompt").has_value());
    }
  }
}

TEST_CASE("equal input gives equal bytes, whenever it is written") {
  const TemporaryFolder folder;
  for (const bool gzip : {false, true}) {
    write_trace(folder / "a.h5", small_info(), {.gzip = gzip, .overwrite = true});
    sleep(1);                                 // a time stamp would differ
    std::vector<char> garbage(1 << 20, 'x');  // so that memory which is never set would differ
    garbage.clear();
    write_trace(folder / "b.h5", small_info(), {.gzip = gzip, .overwrite = true});
    CHECK(bytes_of(folder / "a.h5") == bytes_of(folder / "b.h5"));
  }
}

TEST_CASE("rows may be written in blocks of any size, in any order, from a wider matrix") {
  const TemporaryFolder folder;
  TraceInfo info = small_info(DType::float32);
  info.samples.resize(1);
  info.layers.resize(1);
  info.layers[0].has_output_projection = false;
  SampleInfo& sample = info.samples[0];
  sample.n_tokens = 30000;  // several chunks of 256 KiB
  sample.decode_start = 30000;
  sample.token_ids.assign(30000, 7);
  sample.token_texts.clear();
  sample.has_block_cosine = false;
  sample.probes.clear();
  sample.sensitivities.clear();
  sample.query_ranges = {{29000, 30000}};
  for (const bool gzip : {false, true}) {
    {
      TraceWriter writer(folder / "trace.h5", info, {.gzip = gzip, .overwrite = true});
      for (const TraceTensor tensor : {TraceTensor::queries, TraceTensor::keys, TraceTensor::values}) {
        const std::size_t heads = tensor == TraceTensor::queries ? 4 : 2;
        const std::size_t rows = tensor == TraceTensor::queries ? 1000 : 30000;
        const std::size_t cols = tensor == TraceTensor::values ? 4 : 6;
        for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{rows / 3, rows}, {0, 1}, {1, rows / 3}})
          for (std::size_t h = heads; h-- > 0;) {
            Tensor block(1, end - begin, cols + 3);
            for (std::size_t r = begin; r < end; ++r)
              for (std::size_t c = 0; c < cols; ++c)
                block.matrix(0)(r - begin, c) = expected_value(tensor, 0, 0, h, r, c);
            ConstMatrixView view = block.matrix(0);
            view.cols = cols;
            writer.write(0, 0, tensor, h, begin, view);
          }
      }
      writer.commit();
    }
    const LayerData data = TraceReader(folder / "trace.h5").read_layer(0, 0);
    CHECK(wrong_values(data.queries, TraceTensor::queries, 0, 0) == 0);
    CHECK(wrong_values(data.keys, TraceTensor::keys, 0, 0) == 0);
    CHECK(wrong_values(data.values, TraceTensor::values, 0, 0) == 0);
  }
}

TEST_CASE("a trace without spans, points, queries and texts is a trace") {
  const TemporaryFolder folder;
  TraceInfo info = small_info();
  for (SampleInfo& sample : info.samples) {
    sample.spans.clear();
    sample.compression_points.clear();
    sample.probes.clear();
    sample.sensitivities.clear();
    sample.query_ranges.clear();
    sample.token_texts.clear();
    sample.decode_start = sample.n_tokens;
  }
  info.model.rope = {};
  for (LayerInfo& layer : info.layers) layer.rope = {};
  for (const bool gzip : {false, true}) {
    write_trace(folder / "trace.h5", info, {.gzip = gzip, .overwrite = true});
    const TraceReader reader(folder / "trace.h5");
    check_same_info(reader.info(), info);
    check_layer(reader, 1, 1);
  }
}

TEST_CASE("only what is wanted of a layer is read, into memory that was used before") {
  const TemporaryFolder folder;
  write_trace(folder / "trace.h5", small_info());
  const TraceReader reader(folder / "trace.h5");
  LayerData all = reader.read_layer(0, 0);
  const Tensor expected = reader.read_layer(0, 0).queries;
  const float* const memory = all.keys.values().data();
  for (const std::size_t first : {0, 3, 11, 39, 1000}) {
    CAPTURE(first);
    const LayerParts parts{.first_query = first, .output_projection = false, .block_cosine = false};
    reader.prefetch_layer(0, 0, parts);
    all = reader.read_layer(0, 0, parts, std::move(all));
    CHECK(all.keys.values().data() == memory);
    CHECK(all.output_projection.empty());
    CHECK(all.block_cosine.empty());
    CHECK(wrong_values(all.keys, TraceTensor::keys, 0, 0) == 0);
    CHECK(wrong_values(all.values, TraceTensor::values, 0, 0) == 0);
    std::vector<std::size_t> positions = reader.info().samples[0].query_positions();
    std::erase_if(positions, [&](std::size_t position) { return position < first; });
    CHECK(all.query_positions == positions);
    REQUIRE(all.queries.rows() == positions.size());
    for (std::size_t h = 0; h < 4; ++h)
      for (std::size_t r = 0; r < positions.size(); ++r)
        CHECK(std::ranges::equal(all.queries.matrix(h).row(r),
                                 expected.matrix(h).row(expected.rows() - positions.size() + r)));
  }
  // Of another shape: no memory to take.
  all = reader.read_layer(1, 1, {}, std::move(all));
  CHECK(wrong_values(all.keys, TraceTensor::keys, 1, 1) == 0);
}

TEST_CASE("layers are read by several threads at once") {
  const TemporaryFolder folder;
  write_trace(folder / "trace.h5", small_info(), {.gzip = true});
  const TraceReader reader(folder / "trace.h5");
  const Tensor expected = reader.read_layer(0, 0).keys;
  std::vector<std::size_t> n_equal(4, 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < n_equal.size(); ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 20; ++i) {
          const LayerData data = reader.read_layer(t % 2, i % 2);
          n_equal[t] += wrong_values(data.keys, TraceTensor::keys, t % 2, i % 2) == 0;
        }
      });
  }
  CHECK(n_equal == std::vector<std::size_t>(4, 20));
}

TEST_CASE("the fingerprint tells files apart and stays the same for the same file") {
  const TemporaryFolder folder;
  write_trace(folder / "a.h5", small_info());
  std::filesystem::copy_file(folder / "a.h5", folder / "copy.h5");
  TraceInfo info = small_info();
  info.samples[1].token_ids[20] += 1;
  write_trace(folder / "b.h5", info);
  const std::string fingerprint = TraceReader(folder / "a.h5").fingerprint();
  CHECK(fingerprint.size() == 32);
  CHECK(fingerprint.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(TraceReader(folder / "copy.h5").fingerprint() == fingerprint);
  CHECK(TraceReader(folder / "b.h5").fingerprint() != fingerprint);
}

TEST_CASE("a read-only file in a read-only folder can be read, also while it is locked") {
  const TemporaryFolder folder;
  write_trace(folder / "trace.h5", small_info());
  std::filesystem::permissions(folder / "trace.h5", std::filesystem::perms::owner_read);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  const int descriptor = open((folder / "trace.h5").c_str(), O_RDONLY);
  REQUIRE(flock(descriptor, LOCK_EX) == 0);
  CHECK(TraceReader(folder / "trace.h5").info().samples.size() == 2);
  close(descriptor);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
}
