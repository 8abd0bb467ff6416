#include "traces/trace/trace_writer.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/naming_file.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/hdf5/tensor_storage.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay {
namespace {

using namespace hdf5;
namespace rules = trace_rules;

const char* name_of(TraceTensor tensor) {
  switch (tensor) {
    case TraceTensor::queries:
      return "queries";
    case TraceTensor::keys:
      return "keys";
    case TraceTensor::values:
      break;
  }
  return "values";
}

std::array<hsize_t, 3> shape_of(const TraceInfo& info, const SampleInfo& sample, TraceTensor tensor) {
  const ModelInfo& model = info.model;
  switch (tensor) {
    case TraceTensor::queries:
      return {model.n_q_heads, sample.n_recorded_queries(), model.head_dim};
    case TraceTensor::keys:
      return {model.n_kv_heads, sample.n_tokens, model.head_dim};
    case TraceTensor::values:
      break;
  }
  return {model.n_kv_heads, sample.n_tokens, model.value_dim};
}

/// \param tensor  queries or keys
std::array<hsize_t, 3> probe_shape(const ModelInfo& model, const ProbeInfo& probe, TraceTensor tensor) {
  return {tensor == TraceTensor::queries ? model.n_q_heads : model.n_kv_heads, probe.n_rows, model.head_dim};
}

std::array<hsize_t, 3> gradient_shape(const ModelInfo& model, const SensitivityInfo& sensitivity) {
  return {sensitivity.n_sketches(), sensitivity.n_queries(), model.n_q_heads * model.value_dim};
}

std::filesystem::path checked_target(const std::filesystem::path& path, bool overwrite) {
  if (std::filesystem::is_directory(path)) throw UsageError(fmt::format("{}: is a folder", path.string()));
  if (!overwrite && std::filesystem::exists(path)) throw UsageError(fmt::format("{}: exists already", path.string()));
  return path;
}

/// Writes everything but the tensors, which it creates without content.
class StructureWriter {
 public:
  StructureWriter(const File& file, const TraceInfo& info, bool gzip)
      : file_(file), info_(info), gzip_(gzip), type_(type_for(info.dtype)) {}

  void write() const {
    const Group root = open_group(file_, "/");
    write_root(root);
    write_layers(create_group(create_group(root, "model"), "layers"));
    const Group samples = create_group(root, "samples");
    for (std::size_t i = 0; i < info_.samples.size(); ++i)
      write_sample(create_group(samples, rules::sample_name(i)), info_.samples[i]);
  }

 private:
  void write_root(const Group& root) const {
    const ModelInfo& model = info_.model;
    write_attribute(root, "format", std::string(rules::kFormat));
    write_attribute(root, "format_version", std::string(rules::kVersion));
    write_attribute(root, "creator", info_.creator);
    write_attribute(root, "created", info_.created);
    write_attribute(root, "model_id", model.model_id);
    write_attribute(root, "model_config", model.model_config);
    write_count(root, "n_layers", model.n_layers);
    std::vector<std::int64_t> layers;
    for (const LayerInfo& layer : info_.layers) layers.push_back(static_cast<std::int64_t>(layer.index));
    write_attribute(root, "layers", layers);
    write_count(root, "n_q_heads", model.n_q_heads);
    write_count(root, "n_kv_heads", model.n_kv_heads);
    write_count(root, "head_dim", model.head_dim);
    write_count(root, "value_dim", model.value_dim);
    write_count(root, "hidden_size", model.hidden_size);
    write_attribute(root, "softmax_scale", model.softmax_scale);
    write_attribute(root, "logit_softcap", model.logit_softcap);
    write_attribute(root, "rope_layout", std::string(rules::name_of(model.rope.layout)));
    write_attribute(root, "rope_attention_scaling", model.rope.attention_scaling);
    if (!model.rope.inv_freq.empty()) write_reals(root, "rope_inv_freq", model.rope.inv_freq);
  }

  static void write_count(hid_t object, const char* name, std::size_t value) {
    write_attribute(object, name, static_cast<std::int64_t>(value));
  }

  void write_layers(const Group& layers) const {
    const ModelInfo& model = info_.model;
    for (const LayerInfo& layer : info_.layers) {
      const Group group = create_group(layers, rules::layer_name(layer.index));
      write_count(group, "sliding_window", layer.sliding_window);
      if (layer.rope.inv_freq != model.rope.inv_freq) write_reals(group, "rope_inv_freq", layer.rope.inv_freq);
      if (layer.rope.attention_scaling != model.rope.attention_scaling)
        write_attribute(group, "rope_attention_scaling", layer.rope.attention_scaling);
      if (layer.has_output_projection)
        create_tensor(group, "output_projection",
                      std::array<hsize_t, 2>{model.n_q_heads * model.value_dim, model.hidden_size});
    }
  }

  void write_sample(const Group& group, const SampleInfo& sample) const {
    write_attribute(group, "name", sample.name);
    write_count(group, "n_tokens", sample.n_tokens);
    write_count(group, "decode_start", sample.decode_start);
    write_attribute(group, "token_source", sample.token_source);
    write_numbers(group, "token_ids", H5T_STD_I32LE, {sample.token_ids.begin(), sample.token_ids.end()});
    if (!sample.token_texts.empty()) write_strings(group, "token_texts", sample.token_texts);
    std::vector<std::int64_t> bounds;
    for (const Range& range : sample.query_ranges) append(bounds, {range.begin, range.end});
    write_integers(group, "query_ranges", H5T_STD_I64LE, std::array<hsize_t, 2>{sample.query_ranges.size(), 2}, bounds);
    if (!sample.spans.empty()) write_spans(create_group(group, "spans"), sample.spans);
    write_points(create_group(group, "compression_points"), sample.compression_points);
    const Group layers = create_group(group, "layers");
    for (const LayerInfo& layer : info_.layers) {
      const Group layer_group = create_group(layers, rules::layer_name(layer.index));
      for (const TraceTensor tensor : {TraceTensor::queries, TraceTensor::keys, TraceTensor::values})
        create_tensor(layer_group, name_of(tensor), shape_of(info_, sample, tensor));
      if (sample.has_block_cosine)
        create_dataset(layer_group, "block_cosine", H5T_IEEE_F32LE, new_space(std::array<hsize_t, 1>{sample.n_tokens}),
                       dataset_creation());
    }
    if (!sample.probes.empty()) write_probes(create_group(group, "probes"), sample.probes);
    if (!sample.sensitivities.empty()) write_sensitivities(create_group(group, "sensitivity"), sample.sensitivities);
  }

  void write_sensitivities(const Group& group, const std::vector<SensitivityInfo>& sensitivities) const {
    for (const SensitivityInfo& each : sensitivities) {
      const Group own = create_group(group, each.compression_point);
      write_attribute(own, "kind", std::string(rules::kGaussianFisher));
      write_count(own, "keep_first", each.keep_first);
      write_floats(own, "level", each.level);
      write_unsigned(own, "seed", each.seed);
      write_numbers(own, "target_mask", H5T_STD_U8LE, {each.target_mask.begin(), each.target_mask.end()});
      write_floats(own, "perturbed_kl", each.perturbed_kl);
      const Group layers = create_group(own, "layers");
      for (const LayerInfo& layer : info_.layers) {
        const Group layer_group = create_group(layers, rules::layer_name(layer.index));
        const auto gradient = gradient_shape(info_.model, each);
        create_dataset(layer_group, "gradient", H5T_STD_I8LE, new_space(gradient), tensor_creation(gradient, 1, gzip_));
        const std::array<hsize_t, 2> scale{gradient[0], gradient[1]};
        create_dataset(layer_group, "scale", H5T_IEEE_F32LE, new_space(scale), dataset_creation());
      }
    }
  }

  void write_probes(const Group& group, const std::vector<ProbeInfo>& probes) const {
    for (const ProbeInfo& probe : probes) {
      const Group probe_group = create_group(group, probe.compression_point);
      std::vector<std::int64_t> bounds;
      for (const auto& [context, rows] : probe.chunks)
        append(bounds, {context.begin, context.end, rows.begin, rows.end});
      write_integers(probe_group, "chunks", H5T_STD_I64LE, std::array<hsize_t, 2>{probe.chunks.size(), 4}, bounds);
      const Group layers = create_group(probe_group, "layers");
      for (const LayerInfo& layer : info_.layers) {
        const Group layer_group = create_group(layers, rules::layer_name(layer.index));
        for (const TraceTensor tensor : {TraceTensor::queries, TraceTensor::keys})
          create_tensor(layer_group, name_of(tensor), probe_shape(info_.model, probe, tensor));
      }
    }
  }

  static void append(std::vector<std::int64_t>& list, std::initializer_list<std::size_t> values) {
    for (const std::size_t value : values) list.push_back(static_cast<std::int64_t>(value));
  }

  static void write_numbers(const Group& group, const char* name, hid_t type, const std::vector<std::int64_t>& values) {
    write_integers(group, name, type, std::array<hsize_t, 1>{values.size()}, values);
  }

  static void write_spans(const Group& group, const std::vector<Span>& spans) {
    std::vector<std::string> names;
    std::vector<std::int64_t> begins, ends;
    for (const Span& span : spans) {
      names.push_back(span.name);
      append(begins, {span.tokens.begin});
      append(ends, {span.tokens.end});
    }
    write_strings(group, "name", names);
    write_numbers(group, "begin", H5T_STD_I64LE, begins);
    write_numbers(group, "end", H5T_STD_I64LE, ends);
  }

  static void write_points(const Group& group, const std::vector<CompressionPoint>& points) {
    std::vector<std::string> names;
    std::vector<std::int64_t> positions;
    for (const CompressionPoint& point : points) {
      names.push_back(point.name);
      append(positions, {point.position});
    }
    write_strings(group, "name", names);
    write_numbers(group, "position", H5T_STD_I64LE, positions);
  }

  void create_tensor(const Group& group, const char* name, std::span<const hsize_t> dims) const {
    create_dataset(group, name, type_, new_space(dims), tensor_creation(dims, size_of(info_.dtype), gzip_));
  }

  const File& file_;
  const TraceInfo& info_;
  bool gzip_;
  Type type_;
};

}  // namespace

struct TraceWriter::Impl {
  Impl(const std::filesystem::path& path, TraceInfo&& trace_info, bool gzip)
      : info(std::move(trace_info)), new_file(path, false) {
    StructureWriter(new_file.file(), info, gzip).write();
  }

  ~Impl() {
    if (!committed) new_file.discard();
  }

  /// The dataset stays open until another one is written: its chunk cache gathers rows that come in small blocks.
  const Dataset& open(const std::string& path) {
    if (path != open_path) {
      dataset.close();
      open_path.clear();
      const PropertyList access = new_properties(H5P_DATASET_ACCESS);
      check("set up", -1, "chunk cache", [&] { return H5Pset_chunk_cache(access, 521, kCacheBytes, 1); });
      dataset = open_dataset(new_file.file(), path, access);
      open_path = path;
    }
    return dataset;
  }

  /// Writes rows of a tensor of rank 2 or 3, converted; `start` is where the first row lies.
  void write_rows(const std::string& path, std::array<hsize_t, 3> start, std::size_t rank, ConstMatrixView rows) {
    const Dataset& target = open(path);
    const Type type = type_for(info.dtype);
    const Space file_space = space_of(target);
    // Blocks end where chunks end, so that each chunk is written, and compressed, once.
    const hsize_t chunk_rows = rows_per_chunk(std::numeric_limits<hsize_t>::max(), rows.cols, size_of(info.dtype));
    for (std::size_t done = 0; done < rows.rows;) {
      const std::size_t n = std::min<std::size_t>(rows.rows - done, chunk_rows - start[1] % chunk_rows);
      convert(path, std::span(start).last(rank), rows, done, n);
      const std::array<hsize_t, 3> count = {1, n, rows.cols};
      const Lock lock;
      const Space memory_space = new_space(std::span(count).last(rank));
      check("select in", target, "", [&] {
        return H5Sselect_hyperslab(file_space, H5S_SELECT_SET, std::span(start).last(rank).data(), nullptr,
                                   std::span(count).last(rank).data(), nullptr);
      });
      check("write", target, "",
            [&] { return H5Dwrite(target, type, memory_space, file_space, H5P_DEFAULT, raw.data()); });
      done += n;
      start[1] += n;
    }
    rows_written[path] += rows.rows;
  }

  /// Converts rows [done, done + n) of `rows` into `raw`. Throws Violation when one is not finite, then or already.
  void convert(const std::string& path, std::span<const hsize_t> start, ConstMatrixView rows, std::size_t done,
               std::size_t n) {
    const std::size_t row_bytes = rows.cols * size_of(info.dtype);
    raw.reserve_discard(n * row_bytes);
    back.reserve_discard(n * rows.cols);
    for (std::size_t r = 0; r < n; ++r)
      from_float32(rows.row(done + r), info.dtype, {raw.data() + r * row_bytes, row_bytes});
    const std::span<float> stored = back.span().first(n * rows.cols);
    to_float32(std::span<const std::byte>(raw.data(), n * row_bytes), info.dtype, stored);
    if (const auto bad = first_non_finite(stored)) {
      const std::size_t row = *bad / rows.cols, channel = *bad % rows.cols;
      const std::string head = start.size() == 3 ? fmt::format("head {}, ", start[0]) : "";
      throw Violation(fmt::format("{}: {}row {}, channel {}: expected a value that is finite as {}, found {}", path,
                                  head, start[start.size() - 2] + row, channel, kvreplay::name_of(info.dtype),
                                  rows(done + row, channel)));
    }
  }

  void require_complete(const std::string& path, std::size_t rows) const {
    const auto found = rows_written.find(path);
    const std::size_t n = found == rows_written.end() ? 0 : found->second;
    if (n != rows) throw std::logic_error(fmt::format("{}: {} of {} rows were written before commit()", path, n, rows));
  }

  void require_complete() const {
    for (const LayerInfo& layer : info.layers)
      if (layer.has_output_projection)
        require_complete(rules::model_layer_path(layer.index) + "/output_projection",
                         info.model.n_q_heads * info.model.value_dim);
    for (std::size_t s = 0; s < info.samples.size(); ++s)
      for (const LayerInfo& layer : info.layers) {
        const std::string path = rules::sample_layer_path(s, layer.index) + "/";
        for (const TraceTensor tensor : {TraceTensor::queries, TraceTensor::keys, TraceTensor::values}) {
          const std::array<hsize_t, 3> shape = shape_of(info, info.samples[s], tensor);
          require_complete(path + name_of(tensor), shape[0] * shape[1]);
        }
        if (info.samples[s].has_block_cosine) require_complete(path + "block_cosine", info.samples[s].n_tokens);
        for (const ProbeInfo& probe : info.samples[s].probes)
          for (const TraceTensor tensor : {TraceTensor::queries, TraceTensor::keys}) {
            const std::array<hsize_t, 3> shape = probe_shape(info.model, probe, tensor);
            require_complete(
                fmt::format("{}/{}", rules::probe_layer_path(s, probe.compression_point, layer.index), name_of(tensor)),
                shape[0] * shape[1]);
          }
        for (const SensitivityInfo& each : info.samples[s].sensitivities)
          require_complete(rules::sensitivity_layer_path(s, each.compression_point, layer.index) + "/gradient",
                           each.n_sketches() * each.n_queries());
      }
  }

  static constexpr std::size_t kCacheBytes = 32 << 20;

  TraceInfo info;
  NewHdf5File new_file;
  Dataset dataset;
  std::string open_path;
  std::map<std::string, std::size_t> rows_written;  ///< of all heads
  Buffer<std::byte> raw;
  Buffer<float> back;
  bool committed = false;
};

TraceWriter::TraceWriter(const std::filesystem::path& path, TraceInfo info, TraceWriterOptions options) {
  naming_file<SystemError>(path, [&] {
    rules::check(info);
    impl_ = std::make_unique<Impl>(checked_target(path, options.overwrite), std::move(info), options.gzip);
  });
}

TraceWriter::~TraceWriter() = default;

void TraceWriter::write(std::size_t sample, std::size_t layer, TraceTensor tensor, std::size_t head,
                        std::size_t first_row, ConstMatrixView rows) {
  const TraceInfo& info = impl_->info;
  const std::array<hsize_t, 3> shape = shape_of(info, info.samples.at(sample), tensor);
  const std::string path =
      fmt::format("{}/{}", rules::sample_layer_path(sample, info.layers.at(layer).index), name_of(tensor));
  if (head >= shape[0] || first_row > shape[1] || rows.rows > shape[1] - first_row || rows.cols != shape[2])
    throw std::logic_error(fmt::format("{} is {}: cannot write head {}, rows [{}, {}) of {} channels", path,
                                       shape_text(shape), head, first_row, first_row + rows.rows, rows.cols));
  naming_file<SystemError>(impl_->new_file.path(), [&] { impl_->write_rows(path, {head, first_row, 0}, 3, rows); });
}

void TraceWriter::write_output_projection(std::size_t layer, ConstMatrixView projection) {
  const ModelInfo& model = impl_->info.model;
  const LayerInfo& info = impl_->info.layers.at(layer);
  const std::string path = rules::model_layer_path(info.index) + "/output_projection";
  if (!info.has_output_projection || projection.rows != model.n_q_heads * model.value_dim ||
      projection.cols != model.hidden_size)
    throw std::logic_error(fmt::format("{}: cannot write [{}, {}]", path, projection.rows, projection.cols));
  naming_file<SystemError>(impl_->new_file.path(), [&] { impl_->write_rows(path, {0, 0, 0}, 2, projection); });
}

void TraceWriter::write_block_cosine(std::size_t sample, std::size_t layer, std::span<const float> cosine) {
  const SampleInfo& info = impl_->info.samples.at(sample);
  const std::string path = rules::sample_layer_path(sample, impl_->info.layers.at(layer).index) + "/block_cosine";
  if (!info.has_block_cosine || cosine.size() != info.n_tokens)
    throw std::logic_error(fmt::format("{}: cannot write {} values", path, cosine.size()));
  naming_file<SystemError>(impl_->new_file.path(), [&] {
    if (const auto bad = first_non_finite(cosine))
      throw Violation(fmt::format("{}: token {}: expected a finite value, found {}", path, *bad, cosine[*bad]));
    const Dataset& dataset = impl_->open(path);
    check("write", dataset, "",
          [&] { return H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, cosine.data()); });
    impl_->rows_written[path] += cosine.size();
  });
}

void TraceWriter::write_probes(std::size_t sample, std::size_t layer, std::string_view compression_point,
                               const Tensor& queries, const Tensor& keys) {
  const ProbeInfo* const probe = impl_->info.samples.at(sample).find_probe(compression_point);
  const std::string group = rules::probe_layer_path(sample, compression_point, impl_->info.layers.at(layer).index);
  if (!probe) throw std::logic_error(fmt::format("{}: no such probe", group));
  const auto write_tensor = [&](TraceTensor kind, const Tensor& tensor) {
    const std::string path = fmt::format("{}/{}", group, name_of(kind));
    const std::array<hsize_t, 3> shape = probe_shape(impl_->info.model, *probe, kind);
    const std::array<hsize_t, 3> found = {tensor.count(), tensor.rows(), tensor.cols()};
    if (found != shape)
      throw std::logic_error(fmt::format("{} is {}: cannot write {}", path, shape_text(shape), shape_text(found)));
    naming_file<SystemError>(impl_->new_file.path(), [&] {
      for (std::size_t head = 0; head < shape[0]; ++head) impl_->write_rows(path, {head, 0, 0}, 3, tensor.matrix(head));
    });
  };
  write_tensor(TraceTensor::queries, queries);
  write_tensor(TraceTensor::keys, keys);
}

void TraceWriter::write_sensitivity(std::size_t sample, std::size_t layer, std::string_view compression_point,
                                    std::span<const std::int8_t> gradient, std::span<const float> scale) {
  const SensitivityInfo* const info = impl_->info.samples.at(sample).find_sensitivity(compression_point);
  const std::string group =
      rules::sensitivity_layer_path(sample, compression_point, impl_->info.layers.at(layer).index);
  if (!info) throw std::logic_error(fmt::format("{}: no such sensitivities", group));
  const std::array<hsize_t, 3> shape = gradient_shape(impl_->info.model, *info);
  if (gradient.size() != shape[0] * shape[1] * shape[2] || scale.size() != shape[0] * shape[1])
    throw std::logic_error(fmt::format("{}/gradient is {}: cannot write {} elements with {} scales", group,
                                       shape_text(shape), gradient.size(), scale.size()));
  naming_file<SystemError>(impl_->new_file.path(), [&] {
    for (std::size_t i = 0; i < scale.size(); ++i)
      if (!(std::isfinite(scale[i]) && scale[i] >= 0))
        throw Violation(fmt::format("{}/scale: sketch {}, query {}: expected a finite number from 0, found {}", group,
                                    i / shape[1], i % shape[1], scale[i]));
    const auto put = [&](const std::string& path, hid_t type, const void* values) {
      const Dataset& dataset = impl_->open(path);
      check("write", dataset, "", [&] { return H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values); });
      impl_->rows_written[path] += scale.size();
    };
    if (scale.empty()) return;
    put(group + "/gradient", H5T_NATIVE_INT8, gradient.data());
    put(group + "/scale", H5T_NATIVE_FLOAT, scale.data());
  });
}

void TraceWriter::commit() {
  impl_->require_complete();
  naming_file<SystemError>(impl_->new_file.path(), [&] {
    impl_->dataset.close();
    impl_->new_file.commit();
  });
  impl_->committed = true;
}

}  // namespace kvreplay
