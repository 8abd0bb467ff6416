#include "traces/trace/trace_info_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include "traces/input/stored_values.h"
#include "traces/input/violation.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay {
namespace {

using namespace hdf5;
namespace schema = trace_schema;
using schema::ArrayOwner;

constexpr std::int64_t kMaxInteger = std::numeric_limits<std::int64_t>::max();

/// Refuses other formats and other major versions before anything else is looked at.
void check_version(const StoredGroup& root) {
  if (!has_attribute(root, "format")) throw Violation("expected a kvreplay trace, found HDF5 without attribute format");
  if (const std::string format = read_string_attribute(root, "format"); format != schema::kFormat)
    throw Violation(fmt::format("attribute format of /: expected {:?}, found {:?}", schema::kFormat, format));
  const std::string version = read_string_attribute(root, "format_version");
  int major = -1, minor = -1;
  const char* const end = version.data() + version.size();
  const auto [dot, error] = std::from_chars(version.data(), end, major);
  const bool well_formed = error == std::errc() && dot != end && *dot == '.' &&
                           std::from_chars(dot + 1, end, minor).ptr == end && minor >= 0;
  if (!well_formed)
    throw Violation(fmt::format("attribute format_version of /: expected MAJOR.MINOR, found {:?}", version));
  if (major != schema::kMajorVersion)
    throw Violation(
        fmt::format("attribute format_version of /: expected version {}.x, found {}", schema::kMajorVersion, version));
}

std::size_t read_count(const StoredObject& object, const char* name, std::int64_t low, std::int64_t high) {
  return static_cast<std::size_t>(read_integer_attribute(object, name, low, high));
}

/// Reads what TraceInfo holds; keeps the checks that need the file. The others are trace_schema::check().
class InfoReader {
 public:
  explicit InfoReader(const StoredFile& file) : root_(root_of(file)), allowance_(file) {}

  TraceInfo read() {
    info_.creator = read_name_attribute(root_, "creator");
    info_.created = read_name_attribute(root_, "created");
    read_model();
    read_layers();
    schema::check_model(info_);
    read_samples();
    schema::check(info_);
    return std::move(info_);
  }

 private:
  void read_model() {
    ModelInfo& model = info_.model;
    model.model_id = read_string_attribute(root_, "model_id");
    model.model_config = read_string_attribute(root_, "model_config");
    for (const schema::ModelCount& count : schema::kModelCounts)
      model.*count.value = read_count(root_, count.name, 1, count.max);
    model.softmax_scale = read_real_attribute(root_, "softmax_scale");
    model.logit_softcap = read_real_attribute(root_, "logit_softcap");
    model.rope.layout = schema::rope_layout_named(read_string_attribute(root_, "rope_layout"));
    model.rope.attention_scaling = read_real_attribute(root_, "rope_attention_scaling");
    if (model.rope.layout != RopeLayout::none || has_link(root_, "rope_inv_freq"))
      model.rope.inv_freq = read_frequencies(root_);
  }

  std::vector<double> read_frequencies(const StoredGroup& group) {
    const StoredArray array = open_array(group, "rope_inv_freq", {std::nullopt});
    if (array.dims()[0] > info_.model.head_dim / 2)
      throw Violation(fmt::format("{}: expected at most head_dim / 2 = {} frequencies, found {}", array.path,
                                  info_.model.head_dim / 2, array.dims()[0]));
    return read_reals(array);
  }

  void read_layers() {
    for (const std::int64_t index : read_integers_attribute(root_, "layers")) {
      if (index < 0 || index >= static_cast<std::int64_t>(info_.model.n_layers))
        throw Violation(fmt::format("attribute layers of /: expected indices in 0 to {}, found {}",
                                    info_.model.n_layers - 1, index));
      if (!info_.layers.empty() && index <= static_cast<std::int64_t>(info_.layers.back().index))
        throw Violation(fmt::format("attribute layers of /: expected ascending indices, found {} after {}", index,
                                    info_.layers.back().index));
      LayerInfo layer;
      layer.index = static_cast<std::size_t>(index);
      const StoredGroup group = open_group(root_, schema::model_layer_path(layer.index));
      layer.sliding_window = read_count(group, "sliding_window", 0, kMaxInteger);
      layer.rope = info_.model.rope;
      if (has_link(group, "rope_inv_freq")) layer.rope.inv_freq = read_frequencies(group);
      if (has_attribute(group, "rope_attention_scaling"))
        layer.rope.attention_scaling = read_real_attribute(group, "rope_attention_scaling");
      layer.has_output_projection = has_link(group, "output_projection");
      info_.layers.push_back(std::move(layer));
      check_arrays(ArrayOwner::model, schema::model_place(info_, info_.layers.size() - 1));
    }
  }

  void read_samples() {
    const StoredGroup samples = open_group(root_, "/samples");
    std::vector<std::string> names = link_names(samples);
    std::erase_if(names, [](const std::string& name) { return name.find_first_not_of("0123456789") != name.npos; });
    std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      return a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] != schema::sample_name(i))
        throw Violation(fmt::format("/samples: expected numbers without gaps, {} next, found {:?}",
                                    schema::sample_name(i), names[i]));
      info_.samples.push_back(read_sample(i));
    }
  }

  SampleInfo read_sample(std::size_t index) {
    const StoredGroup group = open_group(root_, schema::sample_path(index));
    refuse_shared(group);
    if (has_link(group, "layers")) refuse_shared(open_group(group, "layers"));
    SampleInfo sample;
    sample.name = read_string_attribute(group, "name");
    sample.n_tokens = read_count(group, "n_tokens", 1, schema::kMaxTokens);
    sample.decode_start = read_count(group, "decode_start", 1, static_cast<std::int64_t>(sample.n_tokens));
    sample.token_source = read_name_attribute(group, "token_source");
    const schema::SampleSource source{group, allowance_};
    for (const schema::SampleObject& object : schema::sample_objects())
      if (object.recorded == nullptr || has_link(group, object.name)) object.read(source, sample);
    schema::check_sample(index, sample);
    count_tokens(group, sample.n_tokens);
    note_block_cosine(index, sample);
    for (const LayerInfo& layer : info_.layers) {
      schema::ArrayPlace place{.model = &info_.model, .layer = &layer, .sample_index = index, .sample = &sample};
      check_arrays(ArrayOwner::sample, place);
      for (const ProbeInfo& each : sample.probes) {
        place.probe = &each;
        check_arrays(ArrayOwner::probe, place);
      }
      for (const SensitivityInfo& each : sample.sensitivities) {
        place.sensitivity = &each;
        check_arrays(ArrayOwner::sensitivity, place);
      }
    }
    return sample;
  }

  /// Many links to one sample would be read again and again.
  void refuse_shared(const StoredGroup& group) {
    if (!samples_.insert(group.object).second)
      throw Violation(fmt::format("{}: expected a group of its own, found one that was there before", group.path));
  }

  /// Each token has keys and values, however well they are compressed.
  void count_tokens(const StoredGroup& group, std::size_t n_tokens) {
    const std::uint64_t size = root_.file->bytes.size();
    if (n_tokens > size - n_tokens_)
      throw Violation(
          fmt::format("attribute n_tokens of {}: expected at most {} tokens in a file of {} bytes, found {}",
                      group.path, size - n_tokens_, size, n_tokens));
    n_tokens_ += n_tokens;
  }

  /// Recorded in all layers, or in none.
  void note_block_cosine(std::size_t index, SampleInfo& sample) {
    const auto n_cosines = static_cast<std::size_t>(std::ranges::count_if(info_.layers, [&](const LayerInfo& layer) {
      return has_link(open_group(root_, schema::sample_layer_path(index, layer.index)), "block_cosine");
    }));
    sample.has_block_cosine = n_cosines == info_.layers.size();
    if (n_cosines != 0 && !sample.has_block_cosine)
      throw Violation(fmt::format("{}: expected block_cosine in all {} layers or none, found {}",
                                  schema::sample_path(index), info_.layers.size(), n_cosines));
  }

  /// Shapes, types and storage of an owner's arrays in one layer.
  void check_arrays(ArrayOwner owner, const schema::ArrayPlace& place) {
    for (const schema::LayerArray& array : schema::layer_arrays()) {
      if (array.owner != owner || (array.recorded != nullptr && !array.recorded(place))) continue;
      const std::vector<hsize_t> dims = array.dims(place);
      const StoredArray stored = open_array(open_group(root_, schema::group_of(owner, place)), array.name,
                                            ExpectedShape(dims.begin(), dims.end()));
      check_element(array.element, stored);
    }
  }

  void check_element(schema::ArrayElement element, const StoredArray& array) {
    switch (element) {
      case schema::ArrayElement::tensor:
        check_dtype(array);
        break;
      case schema::ArrayElement::weights:
        static_cast<void>(dtype_of(array));
        break;
      case schema::ArrayElement::float32:
        if (kind_of(array) != ValueKind::real)
          throw Violation(fmt::format("{}: expected real numbers, found another type", array.path));
        break;
      case schema::ArrayElement::int8:
        require_int8(array);
        break;
    }
  }

  void check_dtype(const StoredArray& array) {
    const DType dtype = dtype_of(array);
    if (!dtype_known_) info_.dtype = dtype;
    dtype_known_ = true;
    if (dtype != info_.dtype)
      throw Violation(fmt::format("{}: expected {} as in the tensors before, found {}", array.path,
                                  name_of(info_.dtype), name_of(dtype)));
  }

  StoredGroup root_;
  ReadAllowance allowance_;
  std::set<const IndexedObject*> samples_;
  std::uint64_t n_tokens_ = 0;
  TraceInfo info_;
  bool dtype_known_ = false;
};

}  // namespace

TraceInfo read_trace_info(const hdf5::StoredFile& file) {
  check_version(root_of(file));
  return InfoReader(file).read();
}

}  // namespace kvreplay
