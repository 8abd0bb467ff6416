#include "traces/trace_reader.h"

#include <fmt/format.h>

#include "traces/file_bytes.h"
#include "traces/hdf5_values.h"
#include "traces/naming_file.h"
#include "traces/tensor_storage.h"
#include "traces/trace_info_reader.h"
#include "traces/trace_rules.h"

namespace kvreplay {
namespace {

using namespace hdf5;
namespace rules = trace_rules;

}  // namespace

struct TraceReader::Impl {
  explicit Impl(const std::filesystem::path& file_path) : path(file_path), bytes(file_path) {
    naming_file<InputError>(path, [&] {
      file = open_file(path);
      info = read_trace_info(file, bytes.size());
    });
  }

  /// \param row_name  what a row is: "token"
  Tensor read(const std::string& group, const char* name, std::size_t count, std::size_t rows, std::size_t cols,
              const std::function<std::string(hsize_t)>& row_name) const {
    Tensor tensor(count, rows, cols);
    const StoredArray array = open_array(open_group(file, group), name, {count, rows, cols}, bytes.size());
    read_tensor(array, tensor.values(), [&](std::span<const hsize_t> at) {
      return fmt::format("head {}, {}, channel {}", at[0], row_name(at[1]), at[2]);
    });
    return tensor;
  }

  Tensor read_output_projection(std::size_t layer_index) const {
    const ModelInfo& model = info.model;
    Tensor tensor(model.n_q_heads, model.value_dim, model.hidden_size);
    const StoredArray array = open_array(open_group(file, rules::model_layer_path(layer_index)), "output_projection",
                                         {model.n_q_heads * model.value_dim, model.hidden_size}, bytes.size());
    read_tensor(array, tensor.values(), [&](std::span<const hsize_t> at) {
      return fmt::format("head {}, value channel {}, output channel {}", at[0] / model.value_dim,
                         at[0] % model.value_dim, at[1]);
    });
    return tensor;
  }

  std::vector<float> read_block_cosine(const std::string& group, std::size_t n_tokens) const {
    const StoredArray array = open_array(open_group(file, group), "block_cosine", {n_tokens}, bytes.size());
    const std::vector<double> values = read_reals(array.dataset);
    const std::vector<float> cosine(values.begin(), values.end());
    if (const auto bad = first_non_finite(cosine))
      throw Violation(
          fmt::format("{}: token {}: expected a finite value, found {}", path_of(array.dataset), *bad, cosine[*bad]));
    return cosine;
  }

  std::filesystem::path path;
  FileBytes bytes;
  File file;
  TraceInfo info;
};

TraceReader::TraceReader(const std::filesystem::path& path) : impl_(std::make_unique<Impl>(path)) {}
TraceReader::~TraceReader() = default;
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader& TraceReader::operator=(TraceReader&&) noexcept = default;

const std::filesystem::path& TraceReader::path() const { return impl_->path; }
const TraceInfo& TraceReader::info() const { return impl_->info; }

LayerData TraceReader::read_layer(std::size_t sample_index, std::size_t layer_index) const {
  const ModelInfo& model = impl_->info.model;
  const SampleInfo& sample = impl_->info.samples.at(sample_index);
  LayerData data;
  data.model = model;
  data.layer = impl_->info.layers.at(layer_index);
  data.query_positions = sample.query_positions();
  const std::string group = rules::sample_layer_path(sample_index, data.layer.index);
  const auto query_name = [&](hsize_t row) {
    return fmt::format("recorded query {} (token {})", row, data.query_positions[row]);
  };
  const auto token_name = [](hsize_t row) { return fmt::format("token {}", row); };
  naming_file<InputError>(impl_->path, [&] {
    data.queries =
        impl_->read(group, "queries", model.n_q_heads, data.query_positions.size(), model.head_dim, query_name);
    data.keys = impl_->read(group, "keys", model.n_kv_heads, sample.n_tokens, model.head_dim, token_name);
    data.values = impl_->read(group, "values", model.n_kv_heads, sample.n_tokens, model.value_dim, token_name);
    if (data.layer.has_output_projection) data.output_projection = impl_->read_output_projection(data.layer.index);
    if (sample.has_block_cosine) data.block_cosine = impl_->read_block_cosine(group, sample.n_tokens);
  });
  return data;
}

std::optional<LayerProbes> TraceReader::read_probes(std::size_t sample_index, std::size_t layer_index,
                                                    std::string_view compression_point) const {
  const ModelInfo& model = impl_->info.model;
  const LayerInfo& layer = impl_->info.layers.at(layer_index);
  const ProbeInfo* const probe = impl_->info.samples.at(sample_index).find_probe(compression_point);
  if (!probe) return std::nullopt;
  const std::string group = rules::probe_layer_path(sample_index, probe->compression_point, layer.index);
  const auto row_name = [](hsize_t row) { return fmt::format("probe row {}", row); };
  LayerProbes data;
  data.chunks = probe->chunks;
  naming_file<InputError>(impl_->path, [&] {
    data.queries = impl_->read(group, "queries", model.n_q_heads, probe->n_rows, model.head_dim, row_name);
    data.keys = impl_->read(group, "keys", model.n_kv_heads, probe->n_rows, model.head_dim, row_name);
  });
  return data;
}

std::string TraceReader::fingerprint() const { return impl_->bytes.fingerprint(); }

}  // namespace kvreplay
