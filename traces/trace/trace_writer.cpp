#include "traces/trace/trace_writer.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/hdf5/tensor_creation.h"
#include "traces/input/naming_file.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay {
namespace {

using namespace hdf5;
namespace schema = trace_schema;
using schema::ArrayOwner;

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

hsize_t n_elements(std::span<const hsize_t> dims) {
  return std::accumulate(dims.begin(), dims.end(), hsize_t{1}, std::multiplies<>());
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
      write_sample(create_group(samples, schema::sample_name(i)), i);
  }

 private:
  void write_root(const Group& root) const {
    const ModelInfo& model = info_.model;
    std::vector<std::int64_t> layers;
    for (const LayerInfo& layer : info_.layers) layers.push_back(static_cast<std::int64_t>(layer.index));
    write_attribute(root, "format", std::string(schema::kFormat));
    write_attribute(root, "format_version", std::string(schema::version_of(info_)));
    write_attribute(root, "creator", info_.creator);
    write_attribute(root, "created", info_.created);
    write_attribute(root, "model_id", model.model_id);
    write_attribute(root, "model_config", model.model_config);
    // The recorded layers stand behind the number of all.
    for (const schema::ModelCount& count : schema::kModelCounts) {
      write_count(root, count.name, model.*count.value);
      if (count.value == &ModelInfo::n_layers) write_attribute(root, "layers", layers);
    }
    write_attribute(root, "softmax_scale", model.softmax_scale);
    write_attribute(root, "logit_softcap", model.logit_softcap);
    write_attribute(root, "rope_layout", std::string(schema::name_of(model.rope.layout)));
    write_attribute(root, "rope_attention_scaling", model.rope.attention_scaling);
    if (!model.rope.inv_freq.empty()) write_reals(root, "rope_inv_freq", model.rope.inv_freq);
  }

  static void write_count(hid_t object, const char* name, std::size_t value) {
    write_attribute(object, name, static_cast<std::int64_t>(value));
  }

  void write_layers(const Group& layers) const {
    const ModelInfo& model = info_.model;
    for (std::size_t l = 0; l < info_.layers.size(); ++l) {
      const LayerInfo& layer = info_.layers[l];
      const Group group = create_group(layers, schema::layer_name(layer.index));
      write_count(group, "sliding_window", layer.sliding_window);
      if (layer.rope.inv_freq != model.rope.inv_freq) write_reals(group, "rope_inv_freq", layer.rope.inv_freq);
      if (layer.rope.attention_scaling != model.rope.attention_scaling)
        write_attribute(group, "rope_attention_scaling", layer.rope.attention_scaling);
      create_arrays(group, ArrayOwner::model, schema::model_place(info_, l));
    }
  }

  void write_sample(const Group& group, std::size_t index) const {
    const SampleInfo& sample = info_.samples[index];
    write_attribute(group, "name", sample.name);
    write_count(group, "n_tokens", sample.n_tokens);
    write_count(group, "decode_start", sample.decode_start);
    write_attribute(group, "token_source", sample.token_source);
    const schema::SampleTarget target{
        .group = group,
        .info = info_,
        .index = index,
        .create_arrays = [&](const Group& location, ArrayOwner owner, schema::ArrayPlace place) {
          const Group layers = create_group(location, "layers");
          place.model = &info_.model;
          place.sample_index = index;
          place.sample = &sample;
          for (const LayerInfo& layer : info_.layers) {
            place.layer = &layer;
            create_arrays(create_group(layers, schema::layer_name(layer.index)), owner, place);
          }
        }};
    for (const schema::SampleObject& object : schema::sample_objects())
      if (object.recorded == nullptr || object.recorded(sample)) object.write(target);
  }

  /// The arrays of an owner in one layer, without content.
  void create_arrays(const Group& group, ArrayOwner owner, const schema::ArrayPlace& place) const {
    for (const schema::LayerArray& array : schema::layer_arrays()) {
      if (array.owner != owner || (array.recorded != nullptr && !array.recorded(place))) continue;
      const std::vector<hsize_t> dims = array.dims(place);
      const auto create = [&](hid_t type, std::size_t element_size) {
        create_dataset(group, array.name, type, new_space(dims),
                       array.in_chunks ? tensor_creation(dims, element_size, gzip_) : dataset_creation());
      };
      switch (array.element) {
        case schema::ArrayElement::tensor:
        case schema::ArrayElement::weights:
          create(type_, size_of(info_.dtype));
          break;
        case schema::ArrayElement::float32:
          create(H5T_IEEE_F32LE, sizeof(float));
          break;
        case schema::ArrayElement::int8:
          create(H5T_STD_I8LE, 1);
          break;
      }
    }
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
    written[path] += rows.rows * rows.cols;
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

  void require_complete() const {
    schema::for_each_layer_array(info, [&](const schema::LayerArray& array, const schema::ArrayPlace& place) {
      const std::string path = schema::path_of(array, place);
      const auto found = written.find(path);
      const hsize_t n = found == written.end() ? 0 : found->second, expected = n_elements(array.dims(place));
      if (n != expected)
        throw std::logic_error(fmt::format("{}: {} of {} elements were written before commit()", path, n, expected));
    });
  }

  /// Writes a whole array that is kept as it is.
  void write_whole(const std::string& path, hid_t type, const void* values, std::size_t n) {
    const Dataset& target = open(path);
    check("write", target, "", [&] { return H5Dwrite(target, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values); });
    written[path] += n;
  }

  static constexpr std::size_t kCacheBytes = 32 << 20;

  TraceInfo info;
  NewHdf5File new_file;
  Dataset dataset;
  std::string open_path;
  std::map<std::string, hsize_t> written;  ///< elements, by path
  Buffer<std::byte> raw;
  Buffer<float> back;
  bool committed = false;
};

TraceWriter::TraceWriter(const std::filesystem::path& path, TraceInfo info, TraceWriterOptions options) {
  naming_file<SystemError>(path, [&] {
    schema::check(info);
    impl_ = std::make_unique<Impl>(checked_target(path, options.overwrite), std::move(info), options.gzip);
  });
}

TraceWriter::~TraceWriter() = default;

void TraceWriter::write(std::size_t sample, std::size_t layer, TraceTensor tensor, std::size_t head,
                        std::size_t first_row, ConstMatrixView rows) {
  const schema::LayerArray& array = schema::layer_array(ArrayOwner::sample, name_of(tensor));
  const schema::ArrayPlace place = schema::sample_place(impl_->info, sample, layer);
  const std::vector<hsize_t> shape = array.dims(place);
  const std::string path = schema::path_of(array, place);
  if (head >= shape[0] || first_row > shape[1] || rows.rows > shape[1] - first_row || rows.cols != shape[2])
    throw std::logic_error(fmt::format("{} is {}: cannot write head {}, rows [{}, {}) of {} channels", path,
                                       shape_text(shape), head, first_row, first_row + rows.rows, rows.cols));
  naming_file<SystemError>(impl_->new_file.path(), [&] { impl_->write_rows(path, {head, first_row, 0}, 3, rows); });
}

void TraceWriter::write_output_projection(std::size_t layer, ConstMatrixView projection) {
  const schema::LayerArray& array = schema::layer_array(ArrayOwner::model, "output_projection");
  const schema::ArrayPlace place = schema::model_place(impl_->info, layer);
  const std::string path = schema::path_of(array, place);
  if (!array.recorded(place) || std::vector<hsize_t>{projection.rows, projection.cols} != array.dims(place))
    throw std::logic_error(fmt::format("{}: cannot write [{}, {}]", path, projection.rows, projection.cols));
  naming_file<SystemError>(impl_->new_file.path(), [&] { impl_->write_rows(path, {0, 0, 0}, 2, projection); });
}

void TraceWriter::write_block_cosine(std::size_t sample, std::size_t layer, std::span<const float> cosine) {
  const schema::LayerArray& array = schema::layer_array(ArrayOwner::sample, "block_cosine");
  const schema::ArrayPlace place = schema::sample_place(impl_->info, sample, layer);
  const std::string path = schema::path_of(array, place);
  if (!array.recorded(place) || std::vector<hsize_t>{cosine.size()} != array.dims(place))
    throw std::logic_error(fmt::format("{}: cannot write {} values", path, cosine.size()));
  naming_file<SystemError>(impl_->new_file.path(), [&] {
    if (const auto bad = first_non_finite(cosine))
      throw Violation(fmt::format("{}: token {}: expected a finite value, found {}", path, *bad, cosine[*bad]));
    impl_->write_whole(path, H5T_NATIVE_FLOAT, cosine.data(), cosine.size());
  });
}

void TraceWriter::write_probes(std::size_t sample, std::size_t layer, std::string_view compression_point,
                               const Tensor& queries, const Tensor& keys) {
  schema::ArrayPlace place = schema::sample_place(impl_->info, sample, layer);
  place.probe = place.sample->find_probe(compression_point);
  if (!place.probe)
    throw std::logic_error(
        fmt::format("{}: no such probe", schema::probe_layer_path(sample, compression_point, place.layer->index)));
  const auto write_tensor = [&](const char* name, const Tensor& tensor) {
    const schema::LayerArray& array = schema::layer_array(ArrayOwner::probe, name);
    const std::string path = schema::path_of(array, place);
    const std::vector<hsize_t> shape = array.dims(place), found{tensor.count(), tensor.rows(), tensor.cols()};
    if (found != shape)
      throw std::logic_error(fmt::format("{} is {}: cannot write {}", path, shape_text(shape), shape_text(found)));
    naming_file<SystemError>(impl_->new_file.path(), [&] {
      for (std::size_t head = 0; head < shape[0]; ++head) impl_->write_rows(path, {head, 0, 0}, 3, tensor.matrix(head));
    });
  };
  write_tensor("queries", queries);
  write_tensor("keys", keys);
}

void TraceWriter::write_sensitivity(std::size_t sample, std::size_t layer, std::string_view compression_point,
                                    std::span<const std::int8_t> gradient, std::span<const float> scale) {
  schema::ArrayPlace place = schema::sample_place(impl_->info, sample, layer);
  place.sensitivity = place.sample->find_sensitivity(compression_point);
  if (!place.sensitivity)
    throw std::logic_error(fmt::format("{}: no such sensitivities",
                                       schema::sensitivity_layer_path(sample, compression_point, place.layer->index)));
  const schema::LayerArray& gradients = schema::layer_array(ArrayOwner::sensitivity, "gradient");
  const schema::LayerArray& scales = schema::layer_array(ArrayOwner::sensitivity, "scale");
  const std::vector<hsize_t> shape = gradients.dims(place);
  if (gradient.size() != n_elements(shape) || scale.size() != n_elements(scales.dims(place)))
    throw std::logic_error(fmt::format("{} is {}: cannot write {} elements with {} scales",
                                       schema::path_of(gradients, place), shape_text(shape), gradient.size(),
                                       scale.size()));
  naming_file<SystemError>(impl_->new_file.path(), [&] {
    for (std::size_t i = 0; i < scale.size(); ++i)
      if (!(std::isfinite(scale[i]) && scale[i] >= 0))
        throw Violation(fmt::format("{}: sketch {}, query {}: expected a finite number from 0, found {}",
                                    schema::path_of(scales, place), i / shape[1], i % shape[1], scale[i]));
    if (scale.empty()) return;
    impl_->write_whole(schema::path_of(gradients, place), H5T_NATIVE_INT8, gradient.data(), gradient.size());
    impl_->write_whole(schema::path_of(scales, place), H5T_NATIVE_FLOAT, scale.data(), scale.size());
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
