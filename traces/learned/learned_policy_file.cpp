#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "traces/hdf5/file_bytes.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/naming_file.h"
#include "traces/hdf5/tensor_storage.h"
#include "traces/learned/lkv_file.h"
#include "traces/learned/lkv_layout.h"

namespace kvreplay {
namespace {

using namespace hdf5;
using lkv_layout::Extents;

constexpr std::int64_t kMostHeads = 1 << 20, kMostWidth = 1 << 16;

class LkvReader {
 public:
  explicit LkvReader(const std::filesystem::path& path) : path_(path), bytes_(path), file_(open_file(path)) {}

  LearnedPolicy read() {
    const std::string format = has_attribute(file_, "format") ? read_string_attribute(file_, "format") : "";
    if (format != lkv_layout::kFormat)
      throw Violation(fmt::format("attribute format of /: expected {}, found '{}'", lkv_layout::kFormat, format));
    LearnedPolicy policy{.model_id = read_string_attribute(file_, "model_id"),
                         .n_layers = count(file_, "n_layers", 1, kMostHeads),
                         .layers = {},
                         .n_q_heads = count(file_, "n_q_heads", 1, kMostHeads),
                         .n_kv_heads = count(file_, "n_kv_heads", 1, kMostHeads),
                         .head_dim = count(file_, "head_dim", 1, kMostWidth),
                         .value_dim = count(file_, "value_dim", 1, kMostWidth)};
    read_layers(policy);
    const Extents extents{.layers = policy.layers.size(), .kv_heads = policy.n_kv_heads};
    if (has_link(file_, "budget")) policy.budgets = read_budgets(extents);
    if (has_link(file_, "scorer")) policy.scorer = read_scorer(extents);
    if (!policy.budgets && !policy.scorer) throw Violation("/: expected a group budget or scorer, found neither");
    policy.path = path_;
    policy.digest = bytes_.fingerprint();
    return policy;
  }

 private:
  static std::size_t count(hid_t object, const std::string& name, std::int64_t low, std::int64_t high) {
    return static_cast<std::size_t>(read_integer_attribute(object, name, low, high));
  }

  static double real(hid_t object, const std::string& name, double high) {
    const double value = read_real_attribute(object, name);
    if (!(value >= 0 && value <= high))
      throw Violation(
          fmt::format("attribute {} of /budget: expected a number from 0 to {}, found {}", name, high, value));
    return value;
  }

  void read_layers(LearnedPolicy& policy) const {
    std::int64_t last = -1;
    for (const std::int64_t layer : read_integers_attribute(file_, "layers")) {
      if (layer <= last || layer >= static_cast<std::int64_t>(policy.n_layers))
        throw Violation(fmt::format("attribute layers of /: expected ascending layers below {}, found {} after {}",
                                    policy.n_layers, layer, last));
      policy.layers.push_back(static_cast<std::size_t>(last = layer));
    }
    if (policy.layers.empty()) throw Violation("attribute layers of /: expected a layer, found none");
  }

  // All finite.
  std::vector<float> read_array(const std::string& name, const ExpectedShape& shape) const {
    const StoredArray array = open_array(file_, name, shape, bytes_.size());
    const std::vector<double> values = read_reals(array.dataset);
    const auto bad = std::ranges::find_if_not(values, [](double x) { return std::isfinite(static_cast<float>(x)); });
    if (bad != values.end())
      throw Violation(fmt::format("/{}: expected finite numbers, found {} as number {} of {}", name, *bad,
                                  bad - values.begin(), shape_text(array.dims)));
    return {values.begin(), values.end()};
  }

  std::vector<float> read_array(const std::string& name, const std::vector<std::size_t>& shape) const {
    return read_array(name, ExpectedShape(shape.begin(), shape.end()));
  }

  // Rising from above 0 up to 1.
  std::vector<double> read_fractions(const std::string& name) const {
    const std::vector<float> values = read_array(name, ExpectedShape{std::nullopt});
    float last = 0;
    for (const float value : values) {
      if (value <= last || value > 1)
        throw Violation(fmt::format("/{}: expected fractions rising up to 1, found {} after {}", name, value, last));
      last = value;
    }
    if (values.empty()) throw Violation(fmt::format("/{}: expected fractions, found none", name));
    return {values.begin(), values.end()};
  }

  void refuse_negative(const std::string& name, const std::vector<float>& values) const {
    const auto bad = std::ranges::find_if(values, [](float x) { return x < 0; });
    if (bad != values.end()) throw Violation(fmt::format("/{}: expected numbers of at least 0, found {}", name, *bad));
  }

  std::vector<std::string> read_texts(const std::string& name) const {
    const Dataset dataset = open_dataset(file_, name);
    const std::vector<hsize_t> dims = dims_of(dataset);
    // Each takes bytes of the file.
    if (dims.size() != 1 || dims[0] > bytes_.size())
      throw Violation(fmt::format("/{}: expected a list, found {}", name, shape_text(dims)));
    return read_strings(dataset);
  }

  LearnedBudgets read_budgets(const Extents& extents) const {
    const Group group = open_group(file_, "budget");
    LearnedBudgets budgets{
        .scorer = read_string_attribute(group, "scorer"),
        .metric = read_string_attribute(group, "metric"),
        .prompt_length = real(group, "prompt_length", 1e12),
        .uniform_mix = real(group, "uniform_mix", 1),
        .least_tokens = count(group, "least_tokens", 0, kMostHeads),
        .keep_first = has_attribute(group, "keep_first") ? count(group, "keep_first", 0, kMostHeads) : 0,
        .grid = read_fractions("budget/grid"),
        .curve = {},
        .retained = read_fractions("budget/retained"),
        .fraction = {},
        .trained_on = read_texts("budget/trained_on")};
    budgets.curve = read_array("budget/curve", std::vector{extents.layers, extents.kv_heads, budgets.grid.size()});
    budgets.fraction =
        read_array("budget/fraction", std::vector{budgets.retained.size(), extents.layers, extents.kv_heads});
    refuse_negative("budget/curve", budgets.curve);
    refuse_negative("budget/fraction", budgets.fraction);
    return budgets;
  }

  LearnedScorer read_scorer(const Extents& extents) const {
    const Group group = open_group(file_, "scorer");
    LearnedScorer scorer{.name = read_string_attribute(group, "name"),
                         .features = read_string_attribute(group, "features"),
                         .keep_first = count(group, "keep_first", 0, kMostHeads),
                         .keep_last = count(group, "keep_last", 0, kMostHeads),
                         .networks = read_networks("scorer", extents)};
    while (has_link(group, lkv_layout::fold_name(scorer.folds.size())))
      scorer.folds.push_back(read_networks("scorer/" + lkv_layout::fold_name(scorer.folds.size()), extents));
    return scorer;
  }

  HeadNetworks read_networks(const std::string& group, Extents extents) const {
    const StoredArray w1 =
        open_array(file_, group + "/w1", {extents.layers, extents.kv_heads, std::nullopt, std::nullopt}, bytes_.size());
    extents.features = w1.dims[2];
    extents.hidden = w1.dims[3];
    HeadNetworks networks{.n_features = extents.features, .n_hidden = extents.hidden};
    for (const lkv_layout::NetworkArray& array : lkv_layout::kNetworkArrays)
      networks.*array.values = read_array(fmt::format("{}/{}", group, array.name), array.shape(extents));
    if (const auto bad = std::ranges::find_if(networks.sd, [](float x) { return x <= 0; }); bad != networks.sd.end())
      throw Violation(fmt::format("/{}/sd: expected numbers above 0, found {}", group, *bad));
    networks.trained_on = read_texts(group + "/trained_on");
    return networks;
  }

  std::filesystem::path path_;
  FileBytes bytes_;
  File file_;
};

}  // namespace

LearnedPolicy read_lkv_file(const std::filesystem::path& path) {
  return naming_file<InputError>(path, [&] { return LkvReader(path).read(); });
}

}  // namespace kvreplay
