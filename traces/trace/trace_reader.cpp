#include "traces/trace/trace_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "traces/input/naming_file.h"
#include "traces/input/stored_values.h"
#include "traces/input/tensor_reader.h"
#include "traces/trace/layer_arrays.h"
#include "traces/trace/trace_info_reader.h"

namespace kvreplay {
namespace {

using namespace hdf5;
namespace schema = trace_schema;
using schema::ArrayOwner;

struct LayerArrays {
  std::optional<StoredArray> queries;  ///< none where none were recorded
  StoredArray keys, values;
};

/// A tensor of this shape with whatever values, in the memory of another if that has the shape.
Tensor shaped(Tensor used, std::size_t count, std::size_t rows, std::size_t cols) {
  if (used.count() == count && used.rows() == rows && used.cols() == cols) return used;
  used = {};  // before the new one takes memory
  return Tensor(count, rows, cols);
}

/// Rows of the queries at `first` and later.
/// \param positions  ascending
Range rows_from(const std::vector<std::size_t>& positions, std::size_t first) {
  const auto begin = std::ranges::lower_bound(positions, first);
  return {static_cast<std::size_t>(begin - positions.begin()), positions.size()};
}

}  // namespace

struct TraceReader::Impl {
  explicit Impl(InputFile&& input) : file(std::move(input)), path(file.path()) {
    naming_file<InputError>(path, [&] { info = read_trace_info(file.stored()); });
  }

  StoredArray open(ArrayOwner owner, const char* name, const schema::ArrayPlace& place) const {
    const std::vector<hsize_t> dims = schema::layer_array(owner, name).dims(place);
    return open_array(open_group(root_of(file.stored()), schema::group_of(owner, place)), name,
                      ExpectedShape(dims.begin(), dims.end()));
  }

  /// \param rows      of those that the file has of each head
  /// \param row_name  what a row is: "token"
  Tensor read(const StoredArray& array, Range rows, const std::function<std::string(std::uint64_t)>& row_name,
              Tensor used = {}) const {
    Tensor tensor = shaped(std::move(used), array.dims()[0], rows.size(), array.dims()[2]);
    read_tensor(array, rows, tensor.values(), [&](std::span<const std::uint64_t> at) {
      return fmt::format("head {}, {}, channel {}", at[0], row_name(at[1]), at[2]);
    });
    return tensor;
  }

  LayerArrays open_layer(const schema::ArrayPlace& place) const {
    LayerArrays arrays{.queries = {},
                       .keys = open(ArrayOwner::sample, "keys", place),
                       .values = open(ArrayOwner::sample, "values", place)};
    if (!place.sample->query_ranges.empty()) arrays.queries = open(ArrayOwner::sample, "queries", place);
    return arrays;
  }

  Tensor read_output_projection(const schema::ArrayPlace& place, Tensor used) const {
    const ModelInfo& model = info.model;
    Tensor tensor = shaped(std::move(used), model.n_q_heads, model.value_dim, model.hidden_size);
    const StoredArray array = open(ArrayOwner::model, "output_projection", place);
    read_tensor(array, {0, array.dims()[0]}, tensor.values(), [&](std::span<const std::uint64_t> at) {
      return fmt::format("head {}, value channel {}, output channel {}", at[0] / model.value_dim,
                         at[0] % model.value_dim, at[1]);
    });
    return tensor;
  }

  std::vector<float> read_block_cosine(const schema::ArrayPlace& place) const {
    const StoredArray array = open(ArrayOwner::sample, "block_cosine", place);
    const std::vector<double> values = read_reals(array);
    const std::vector<float> cosine(values.begin(), values.end());
    if (const auto bad = first_non_finite(cosine))
      throw Violation(fmt::format("{}: token {}: expected a finite value, found {}", array.path, *bad, cosine[*bad]));
    return cosine;
  }

  InputFile file;
  const std::filesystem::path& path;
  TraceInfo info;
};

TraceReader::TraceReader(InputFile file) : impl_(std::make_unique<Impl>(std::move(file))) {}
TraceReader::~TraceReader() = default;
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader& TraceReader::operator=(TraceReader&&) noexcept = default;

const std::filesystem::path& TraceReader::path() const { return impl_->path; }
const TraceInfo& TraceReader::info() const { return impl_->info; }

std::uint64_t TraceReader::info_bytes() const {
  // Texts are in the structure and in info(), as strings of 32 bytes and more.
  std::uint64_t bytes = 2 * impl_->file.structure_bytes();
  for (const SampleInfo& sample : impl_->info.samples)
    bytes += sample.n_tokens * (sizeof(std::int32_t) + sizeof(std::string));
  return bytes;
}

LayerData TraceReader::read_layer(std::size_t sample_index, std::size_t layer_index, const LayerParts& parts,
                                  LayerData used) const {
  const SampleInfo& sample = impl_->info.samples.at(sample_index);
  LayerData data;
  data.model = impl_->info.model;
  data.layer = impl_->info.layers.at(layer_index);
  const std::vector<std::size_t> positions = sample.query_positions();
  const Range queries = rows_from(positions, parts.first_query);
  data.query_positions.assign(positions.begin() + static_cast<std::ptrdiff_t>(queries.begin), positions.end());
  const schema::ArrayPlace place = schema::sample_place(impl_->info, sample_index, layer_index);
  const auto query_name = [&](std::uint64_t row) {
    return fmt::format("recorded query {} (token {})", row, positions[row]);
  };
  const auto token_name = [](std::uint64_t row) { return fmt::format("token {}", row); };
  naming_file<InputError>(impl_->path, [&] {
    const LayerArrays arrays = impl_->open_layer(place);
    if (arrays.queries)
      data.queries = impl_->read(*arrays.queries, queries, query_name, std::move(used.queries));
    else
      data.queries = Tensor(data.model.n_q_heads, 0, data.model.head_dim);
    data.keys = impl_->read(arrays.keys, {0, sample.n_tokens}, token_name, std::move(used.keys));
    data.values = impl_->read(arrays.values, {0, sample.n_tokens}, token_name, std::move(used.values));
    if (data.layer.has_output_projection && parts.output_projection)
      data.output_projection = impl_->read_output_projection(place, std::move(used.output_projection));
    if (sample.has_block_cosine && parts.block_cosine) data.block_cosine = impl_->read_block_cosine(place);
  });
  return data;
}

void TraceReader::prefetch_layer(std::size_t sample_index, std::size_t layer_index, const LayerParts& parts) const {
  const SampleInfo& sample = impl_->info.samples.at(sample_index);
  const schema::ArrayPlace place = schema::sample_place(impl_->info, sample_index, layer_index);
  naming_file<InputError>(impl_->path, [&] {
    const LayerArrays arrays = impl_->open_layer(place);
    if (arrays.queries) prefetch_tensor(*arrays.queries, rows_from(sample.query_positions(), parts.first_query));
    for (const StoredArray* array : {&arrays.keys, &arrays.values}) prefetch_tensor(*array, {0, sample.n_tokens});
    if (!place.layer->has_output_projection || !parts.output_projection) return;
    const StoredArray projection = impl_->open(ArrayOwner::model, "output_projection", place);
    prefetch_tensor(projection, {0, projection.dims()[0]});
  });
}

std::optional<LayerProbes> TraceReader::read_probes(std::size_t sample_index, std::size_t layer_index,
                                                    std::string_view compression_point) const {
  schema::ArrayPlace place = schema::sample_place(impl_->info, sample_index, layer_index);
  place.probe = place.sample->find_probe(compression_point);
  if (!place.probe) return std::nullopt;
  const auto row_name = [](std::uint64_t row) { return fmt::format("probe row {}", row); };
  LayerProbes data;
  data.chunks = place.probe->chunks;
  naming_file<InputError>(impl_->path, [&] {
    const StoredArray queries = impl_->open(ArrayOwner::probe, "queries", place);
    const StoredArray keys = impl_->open(ArrayOwner::probe, "keys", place);
    data.queries = impl_->read(queries, {0, place.probe->n_rows}, row_name);
    data.keys = impl_->read(keys, {0, place.probe->n_rows}, row_name);
  });
  return data;
}

std::optional<LayerSensitivity> TraceReader::read_sensitivity(std::size_t sample_index, std::size_t layer_index,
                                                              std::string_view compression_point) const {
  const ModelInfo& model = impl_->info.model;
  schema::ArrayPlace place = schema::sample_place(impl_->info, sample_index, layer_index);
  const SensitivityInfo* const info = place.sensitivity = place.sample->find_sensitivity(compression_point);
  if (!info) return std::nullopt;
  LayerSensitivity data{.level = info->level, .n_targets = info->n_targets(), .n_queries = info->n_queries()};
  naming_file<InputError>(impl_->path, [&] {
    const std::size_t width = model.n_q_heads * model.value_dim, n_rows = info->n_sketches() * info->n_queries();
    const StoredArray gradient = impl_->open(ArrayOwner::sensitivity, "gradient", place);
    data.gradient = Buffer<std::int8_t>(n_rows * width);
    read_int8(gradient, data.gradient.span());
    const StoredArray scale = impl_->open(ArrayOwner::sensitivity, "scale", place);
    const std::vector<double> scales = read_reals(scale);
    data.scale.assign(scales.begin(), scales.end());
    for (std::size_t i = 0; i < n_rows; ++i)
      if (!(std::isfinite(data.scale[i]) && data.scale[i] >= 0))
        throw Violation(fmt::format("{}: sketch {}, query {}: expected a finite number from 0, found {}", scale.path,
                                    i / info->n_queries(), i % info->n_queries(), scales[i]));
  });
  return data;
}

std::string TraceReader::fingerprint() const { return impl_->file.bytes().fingerprint(); }

}  // namespace kvreplay
