#include "traces/trace/layer_arrays.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {
namespace {

using Dims = std::vector<hsize_t>;

Dims projection_dims(const ArrayPlace& at) {
  return {at.model->n_q_heads * at.model->value_dim, at.model->hidden_size};
}
Dims query_dims(const ArrayPlace& at) {
  return {at.model->n_q_heads, at.sample->n_recorded_queries(), at.model->head_dim};
}
Dims key_dims(const ArrayPlace& at) { return {at.model->n_kv_heads, at.sample->n_tokens, at.model->head_dim}; }
Dims value_dims(const ArrayPlace& at) { return {at.model->n_kv_heads, at.sample->n_tokens, at.model->value_dim}; }
Dims token_dims(const ArrayPlace& at) { return {at.sample->n_tokens}; }
Dims probe_query_dims(const ArrayPlace& at) { return {at.model->n_q_heads, at.probe->n_rows, at.model->head_dim}; }
Dims probe_key_dims(const ArrayPlace& at) { return {at.model->n_kv_heads, at.probe->n_rows, at.model->head_dim}; }
Dims gradient_dims(const ArrayPlace& at) {
  return {at.sensitivity->n_sketches(), at.sensitivity->n_queries(), at.model->n_q_heads * at.model->value_dim};
}
Dims scale_dims(const ArrayPlace& at) { return {at.sensitivity->n_sketches(), at.sensitivity->n_queries()}; }

bool has_output_projection(const ArrayPlace& at) { return at.layer->has_output_projection; }
bool has_block_cosine(const ArrayPlace& at) { return at.sample->has_block_cosine; }
bool has_queries(const ArrayPlace& at) { return !at.sample->query_ranges.empty(); }

using enum ArrayOwner;
using enum ArrayElement;

//   name                 owner        element  chunks recorded               dims
constexpr std::array kArrays{
    LayerArray{"output_projection", model, weights, true, has_output_projection, projection_dims},
    LayerArray{"queries", sample, tensor, true, has_queries, query_dims},
    LayerArray{"keys", sample, tensor, true, nullptr, key_dims},
    LayerArray{"values", sample, tensor, true, nullptr, value_dims},
    LayerArray{"block_cosine", sample, float32, false, has_block_cosine, token_dims},
    LayerArray{"queries", probe, tensor, true, nullptr, probe_query_dims},
    LayerArray{"keys", probe, tensor, true, nullptr, probe_key_dims},
    LayerArray{"gradient", sensitivity, int8, true, nullptr, gradient_dims},
    LayerArray{"scale", sensitivity, float32, false, nullptr, scale_dims},
};

}  // namespace

std::span<const LayerArray> layer_arrays() { return kArrays; }

const LayerArray& layer_array(ArrayOwner owner, std::string_view name) {
  for (const LayerArray& array : kArrays)
    if (array.owner == owner && array.name == name) return array;
  throw std::logic_error(fmt::format("no array is called {}", name));
}

std::string group_of(ArrayOwner owner, const ArrayPlace& at) {
  switch (owner) {
    case ArrayOwner::model:
      return model_layer_path(at.layer->index);
    case ArrayOwner::sample:
      return sample_layer_path(at.sample_index, at.layer->index);
    case ArrayOwner::probe:
      return probe_layer_path(at.sample_index, at.probe->compression_point, at.layer->index);
    case ArrayOwner::sensitivity:
      break;
  }
  return sensitivity_layer_path(at.sample_index, at.sensitivity->compression_point, at.layer->index);
}

std::string path_of(const LayerArray& array, const ArrayPlace& place) {
  return fmt::format("{}/{}", group_of(array.owner, place), array.name);
}

ArrayPlace model_place(const TraceInfo& info, std::size_t layer) {
  return {.model = &info.model, .layer = &info.layers.at(layer)};
}

ArrayPlace sample_place(const TraceInfo& info, std::size_t sample, std::size_t layer) {
  ArrayPlace place = model_place(info, layer);
  place.sample_index = sample;
  place.sample = &info.samples.at(sample);
  return place;
}

void for_each_layer_array(const TraceInfo& info, const std::function<void(const LayerArray&, const ArrayPlace&)>& use) {
  const auto use_all = [&](ArrayOwner owner, const ArrayPlace& place) {
    for (const LayerArray& array : kArrays)
      if (array.owner == owner && (array.recorded == nullptr || array.recorded(place))) use(array, place);
  };
  for (std::size_t l = 0; l < info.layers.size(); ++l) use_all(ArrayOwner::model, model_place(info, l));
  for (std::size_t s = 0; s < info.samples.size(); ++s)
    for (std::size_t l = 0; l < info.layers.size(); ++l) {
      ArrayPlace place = sample_place(info, s, l);
      use_all(ArrayOwner::sample, place);
      for (const ProbeInfo& each : place.sample->probes) {
        place.probe = &each;
        use_all(ArrayOwner::probe, place);
      }
      for (const SensitivityInfo& each : place.sample->sensitivities) {
        place.sensitivity = &each;
        use_all(ArrayOwner::sensitivity, place);
      }
    }
}

}  // namespace kvreplay::trace_schema
