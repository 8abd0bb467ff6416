#include "traces/trace/trace_info_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/tensor_storage.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay {
namespace {

using namespace hdf5;
namespace rules = trace_rules;

constexpr std::int64_t kMaxInteger = std::numeric_limits<std::int64_t>::max();

/// Refuses other formats and other major versions before anything else is looked at.
void check_version(const File& file) {
  const Group root = open_group(file, "/");
  if (!has_attribute(root, "format")) throw Violation("expected a kvreplay trace, found HDF5 without attribute format");
  if (const std::string format = read_string_attribute(root, "format"); format != rules::kFormat)
    throw Violation(fmt::format("attribute format of /: expected {:?}, found {:?}", rules::kFormat, format));
  const std::string version = read_string_attribute(root, "format_version");
  int major = -1, minor = -1;
  const char* const end = version.data() + version.size();
  const auto [dot, error] = std::from_chars(version.data(), end, major);
  const bool well_formed = error == std::errc() && dot != end && *dot == '.' &&
                           std::from_chars(dot + 1, end, minor).ptr == end && minor >= 0;
  if (!well_formed)
    throw Violation(fmt::format("attribute format_version of /: expected MAJOR.MINOR, found {:?}", version));
  if (major != rules::kMajorVersion)
    throw Violation(
        fmt::format("attribute format_version of /: expected version {}.x, found {}", rules::kMajorVersion, version));
}

std::size_t read_count(hid_t object, const char* name, std::int64_t low, std::int64_t high) {
  return static_cast<std::size_t>(read_integer_attribute(object, name, low, high));
}

std::size_t as_size(std::int64_t value, const std::string& place) {
  if (value < 0) throw Violation(fmt::format("{}: expected a number from 0, found {}", place, value));
  return static_cast<std::size_t>(value);
}

/// Reads what TraceInfo holds; keeps the checks that need the file. The others are trace_rules::check().
class InfoReader {
 public:
  InfoReader(const File& file, std::uint64_t file_size) : file_(file), file_size_(file_size) {}

  TraceInfo read() {
    const Group root = open_group(file_, "/");
    info_.creator = read_string_attribute(root, "creator");
    info_.created = read_string_attribute(root, "created");
    read_model(root);
    read_layers(root);
    rules::check_model(info_);
    read_samples();
    rules::check(info_);
    return std::move(info_);
  }

 private:
  void read_model(const Group& root) {
    ModelInfo& model = info_.model;
    model.model_id = read_string_attribute(root, "model_id");
    model.model_config = read_string_attribute(root, "model_config");
    model.n_layers = read_count(root, "n_layers", 1, rules::kMaxCount);
    model.n_q_heads = read_count(root, "n_q_heads", 1, rules::kMaxCount);
    model.n_kv_heads = read_count(root, "n_kv_heads", 1, rules::kMaxCount);
    model.head_dim = read_count(root, "head_dim", 1, rules::kMaxDim);
    model.value_dim = read_count(root, "value_dim", 1, rules::kMaxDim);
    model.hidden_size = read_count(root, "hidden_size", 1, rules::kMaxCount);
    model.softmax_scale = read_real_attribute(root, "softmax_scale");
    model.logit_softcap = read_real_attribute(root, "logit_softcap");
    model.rope.layout = rules::rope_layout_named(read_string_attribute(root, "rope_layout"));
    model.rope.attention_scaling = read_real_attribute(root, "rope_attention_scaling");
    if (model.rope.layout != RopeLayout::none || has_link(root, "rope_inv_freq"))
      model.rope.inv_freq = read_frequencies(root);
  }

  std::vector<double> read_frequencies(const Group& group) {
    const StoredArray array = open_array(group, "rope_inv_freq", {std::nullopt}, file_size_);
    if (array.dims[0] > info_.model.head_dim / 2)
      throw Violation(fmt::format("{}: expected at most head_dim / 2 = {} frequencies, found {}",
                                  path_of(array.dataset), info_.model.head_dim / 2, array.dims[0]));
    return read_reals(array.dataset);
  }

  void read_layers(const Group& root) {
    for (const std::int64_t index : read_integers_attribute(root, "layers")) {
      if (index < 0 || index >= static_cast<std::int64_t>(info_.model.n_layers))
        throw Violation(fmt::format("attribute layers of /: expected indices in 0 to {}, found {}",
                                    info_.model.n_layers - 1, index));
      LayerInfo layer;
      layer.index = static_cast<std::size_t>(index);
      const Group group = open_group(file_, rules::model_layer_path(layer.index));
      layer.sliding_window = read_count(group, "sliding_window", 0, kMaxInteger);
      layer.rope = info_.model.rope;
      if (has_link(group, "rope_inv_freq")) layer.rope.inv_freq = read_frequencies(group);
      if (has_attribute(group, "rope_attention_scaling"))
        layer.rope.attention_scaling = read_real_attribute(group, "rope_attention_scaling");
      layer.has_output_projection = has_link(group, "output_projection");
      if (layer.has_output_projection)
        static_cast<void>(dtype_of(
            open_array(group, "output_projection", {n_concatenated(), info_.model.hidden_size}, file_size_).dataset));
      info_.layers.push_back(std::move(layer));
    }
  }

  hsize_t n_concatenated() const { return info_.model.n_q_heads * info_.model.value_dim; }

  void read_samples() {
    const Group samples = open_group(file_, "/samples");
    std::vector<std::string> names = link_names(samples);
    std::erase_if(names, [](const std::string& name) { return name.find_first_not_of("0123456789") != name.npos; });
    std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      return a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] != rules::sample_name(i))
        throw Violation(fmt::format("/samples: expected numbers without gaps, {} next, found {:?}",
                                    rules::sample_name(i), names[i]));
      info_.samples.push_back(read_sample(i));
    }
  }

  SampleInfo read_sample(std::size_t index) {
    const Group group = open_group(file_, rules::sample_path(index));
    SampleInfo sample;
    sample.name = read_string_attribute(group, "name");
    sample.n_tokens = read_count(group, "n_tokens", 1, kMaxInteger);
    sample.decode_start = read_count(group, "decode_start", 1, static_cast<std::int64_t>(sample.n_tokens));
    sample.token_source = read_string_attribute(group, "token_source");
    // Everything of n_tokens elements is compared with the bytes in the file before it is allocated.
    for (const std::int64_t id : read_integers(open_values(group, "token_ids", sample.n_tokens))) {
      if (id < std::numeric_limits<std::int32_t>::min() || id > std::numeric_limits<std::int32_t>::max())
        throw Violation(fmt::format("{}/token_ids: expected 32-bit integers, found {}", path_of(group), id));
      sample.token_ids.push_back(static_cast<std::int32_t>(id));
    }
    if (has_link(group, "token_texts"))
      sample.token_texts = read_strings(open_values(group, "token_texts", sample.n_tokens));
    read_query_ranges(group, sample);
    read_spans(group, sample);
    read_compression_points(group, sample);
    read_probes(group, sample);
    read_sensitivities(group, sample);
    rules::check_sample(index, sample);
    read_tensors(index, sample);
    check_probe_tensors(index, sample);
    check_sensitivity_arrays(index, sample);
    return sample;
  }

  Dataset open_values(const Group& group, const std::string& name, std::optional<hsize_t> n) {
    return std::move(open_array(group, name, {n}, file_size_).dataset);
  }

  void read_query_ranges(const Group& group, SampleInfo& sample) {
    const StoredArray array = open_array(group, "query_ranges", {std::nullopt, 2}, file_size_);
    const std::string place = path_of(array.dataset);
    const std::vector<std::int64_t> bounds = read_integers(array.dataset);
    for (std::size_t i = 0; i < bounds.size(); i += 2)
      sample.query_ranges.push_back({as_size(bounds[i], place), as_size(bounds[i + 1], place)});
  }

  void read_spans(const Group& group, SampleInfo& sample) {
    if (!has_link(group, "spans")) return;
    const Group spans = open_group(group, "spans");
    std::vector<std::string> names = read_strings(open_values(spans, "name", std::nullopt));
    const std::vector<std::int64_t> begins = read_integers(open_values(spans, "begin", names.size()));
    const std::vector<std::int64_t> ends = read_integers(open_values(spans, "end", names.size()));
    const std::string place = path_of(spans);
    for (std::size_t i = 0; i < names.size(); ++i)
      sample.spans.push_back(
          {std::move(names[i]), {as_size(begins[i], place + "/begin"), as_size(ends[i], place + "/end")}});
  }

  void read_compression_points(const Group& group, SampleInfo& sample) {
    const Group points = open_group(group, "compression_points");
    std::vector<std::string> names = read_strings(open_values(points, "name", std::nullopt));
    const std::vector<std::int64_t> positions = read_integers(open_values(points, "position", names.size()));
    for (std::size_t i = 0; i < names.size(); ++i)
      sample.compression_points.push_back({std::move(names[i]), as_size(positions[i], path_of(points) + "/position")});
  }

  /// Their names and chunks; whether these fit the sample is for check_sample().
  void read_probes(const Group& group, SampleInfo& sample) {
    if (!has_link(group, "probes")) return;
    const Group probes = open_group(group, "probes");
    for (std::string& name : link_names(probes)) {
      const StoredArray array = open_array(open_group(probes, name), "chunks", {std::nullopt, 4}, file_size_);
      const std::string place = path_of(array.dataset);
      const std::vector<std::int64_t> bounds = read_integers(array.dataset);
      const auto bound = [&](std::size_t i) { return as_size(bounds[i], place); };
      ProbeInfo probe;
      probe.compression_point = std::move(name);
      for (std::size_t i = 0; i < bounds.size(); i += 4)
        probe.chunks.push_back({{bound(i), bound(i + 1)}, {bound(i + 2), bound(i + 3)}});
      if (!probe.chunks.empty()) probe.n_rows = probe.chunks.back().rows.end;
      sample.probes.push_back(std::move(probe));
    }
  }

  /// Their small arrays; whether these fit the sample is for check_sample().
  void read_sensitivities(const Group& group, SampleInfo& sample) {
    if (!has_link(group, "sensitivity")) return;
    const Group all = open_group(group, "sensitivity");
    for (std::string& name : link_names(all)) {
      const Group own = open_group(all, name);
      if (const std::string kind = read_string_attribute(own, "kind"); kind != rules::kGaussianFisher)
        throw Violation(
            fmt::format("attribute kind of {}: expected {:?}, found {:?}", path_of(own), rules::kGaussianFisher, kind));
      SensitivityInfo info;
      info.compression_point = std::move(name);
      info.keep_first = read_count(own, "keep_first", 0, kMaxInteger);
      const auto floats = [&](const char* array) {
        const std::vector<double> values = read_reals(open_values(own, array, std::nullopt));
        return std::vector<float>(values.begin(), values.end());
      };
      info.level = floats("level");
      info.perturbed_kl = floats("perturbed_kl");
      info.seed = read_unsigned(open_values(own, "seed", std::nullopt));
      for (const std::int64_t target : read_integers(open_values(own, "target_mask", std::nullopt))) {
        if (target != 0 && target != 1)
          throw Violation(fmt::format("{}/target_mask: expected 0 and 1, found {}", path_of(own), target));
        info.target_mask.push_back(static_cast<std::uint8_t>(target));
      }
      sample.sensitivities.push_back(std::move(info));
    }
  }

  void check_sensitivity_arrays(std::size_t index, const SampleInfo& sample) {
    for (const SensitivityInfo& each : sample.sensitivities)
      for (const LayerInfo& layer : info_.layers) {
        const Group group =
            open_group(file_, rules::sensitivity_layer_path(index, each.compression_point, layer.index));
        const StoredArray gradient =
            open_array(group, "gradient", {each.n_sketches(), each.n_queries(), n_concatenated()}, file_size_);
        read_bytes(gradient.dataset, {});  // checks the type
        const StoredArray scale = open_array(group, "scale", {each.n_sketches(), each.n_queries()}, file_size_);
        if (kind_of_type(type_of(scale.dataset)) != ValueKind::real)
          throw Violation(fmt::format("{}: expected real numbers, found another type", path_of(scale.dataset)));
      }
  }

  void check_probe_tensors(std::size_t index, const SampleInfo& sample) {
    const ModelInfo& model = info_.model;
    for (const ProbeInfo& probe : sample.probes)
      for (const LayerInfo& layer : info_.layers) {
        const Group group = open_group(file_, rules::probe_layer_path(index, probe.compression_point, layer.index));
        check_tensor(group, "queries", {model.n_q_heads, probe.n_rows, model.head_dim});
        check_tensor(group, "keys", {model.n_kv_heads, probe.n_rows, model.head_dim});
      }
  }

  void read_tensors(std::size_t index, SampleInfo& sample) {
    const ModelInfo& model = info_.model;
    std::size_t n_cosines = 0;
    for (const LayerInfo& layer : info_.layers) {
      const Group group = open_group(file_, rules::sample_layer_path(index, layer.index));
      check_tensor(group, "queries", {model.n_q_heads, sample.n_recorded_queries(), model.head_dim});
      check_tensor(group, "keys", {model.n_kv_heads, sample.n_tokens, model.head_dim});
      check_tensor(group, "values", {model.n_kv_heads, sample.n_tokens, model.value_dim});
      if (!has_link(group, "block_cosine")) continue;
      ++n_cosines;
      if (kind_of_type(type_of(open_values(group, "block_cosine", sample.n_tokens))) != ValueKind::real)
        throw Violation(fmt::format("{}/block_cosine: expected real numbers, found another type", path_of(group)));
    }
    sample.has_block_cosine = n_cosines == info_.layers.size();
    if (n_cosines != 0 && !sample.has_block_cosine)
      throw Violation(fmt::format("{}: expected block_cosine in all {} layers or none, found {}",
                                  rules::sample_path(index), info_.layers.size(), n_cosines));
  }

  void check_tensor(const Group& group, const char* name, const ExpectedShape& shape) {
    const StoredArray array = open_array(group, name, shape, file_size_);
    const DType dtype = dtype_of(array.dataset);
    if (!dtype_known_) info_.dtype = dtype;
    dtype_known_ = true;
    if (dtype != info_.dtype)
      throw Violation(fmt::format("{}: expected {} as in the tensors before, found {}", path_of(array.dataset),
                                  name_of(info_.dtype), name_of(dtype)));
  }

  const File& file_;
  std::uint64_t file_size_;
  TraceInfo info_;
  bool dtype_known_ = false;
};

}  // namespace

TraceInfo read_trace_info(const hdf5::File& file, std::uint64_t file_size) {
  check_version(file);
  return InfoReader(file, file_size).read();
}

}  // namespace kvreplay
