#include "traces/learned/learned_policy_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/learned_policy.h"
#include "traces/hdf5/copy_group.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/input/input_file.h"
#include "traces/input/naming_file.h"
#include "traces/input/read_allowance.h"
#include "traces/input/stored_values.h"

namespace kvreplay {
namespace {

using namespace hdf5;

// Which arrays stand in a file of format kvlkv-1: said once, for reader and writer.

constexpr const char* kFormat = "kvlkv-1";

/// The lengths that shapes are made of.
struct Extents {
  std::size_t layers = 0, kv_heads = 0, features = 0, hidden = 0;
};

struct NetworkArray {
  const char* name;
  std::vector<float> HeadNetworks::*values;
  std::vector<std::size_t> (*shape)(const Extents&);
};

const std::array<NetworkArray, 7> kNetworkArrays{{
    {"mu", &HeadNetworks::mu,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features};
     }},
    {"sd", &HeadNetworks::sd,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features};
     }},
    {"w1", &HeadNetworks::w1,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features, n.hidden};
     }},
    {"b1", &HeadNetworks::b1,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.hidden};
     }},
    {"w2", &HeadNetworks::w2,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.hidden};
     }},
    {"ws", &HeadNetworks::ws,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads, n.features};
     }},
    {"b", &HeadNetworks::b,
     [](const Extents& n) {
       return std::vector{n.layers, n.kv_heads};
     }},
}};

std::string fold_name(std::size_t fold) { return "fold" + std::to_string(fold); }

// ---- reading

constexpr std::int64_t kMostHeads = 1 << 20, kMostWidth = 1 << 16;

class LkvReader {
 public:
  explicit LkvReader(const InputFile& file) : file_(file), root_(root_of(file.stored())), allowance_(file.stored()) {}

  LearnedPolicy read() {
    const std::string format = has_attribute(root_, "format") ? read_name_attribute(root_, "format") : "";
    if (format != kFormat)
      throw Violation(fmt::format("attribute format of /: expected {}, found '{}'", kFormat, format));
    LearnedPolicy policy{.model_id = read_name_attribute(root_, "model_id"),
                         .n_layers = count(root_, "n_layers", 1, kMostHeads),
                         .layers = {},
                         .n_q_heads = count(root_, "n_q_heads", 1, kMostHeads),
                         .n_kv_heads = count(root_, "n_kv_heads", 1, kMostHeads),
                         .head_dim = count(root_, "head_dim", 1, kMostWidth),
                         .value_dim = count(root_, "value_dim", 1, kMostWidth)};
    read_layers(policy);
    const Extents extents{.layers = policy.layers.size(), .kv_heads = policy.n_kv_heads};
    if (has_link(root_, "budget")) policy.budgets = read_budgets(extents);
    if (has_link(root_, "scorer")) policy.scorer = read_scorer(extents);
    if (!policy.budgets && !policy.scorer) throw Violation("/: expected a group budget or scorer, found neither");
    policy.path = file_.path();
    policy.digest = file_.bytes().fingerprint();
    return policy;
  }

 private:
  static std::size_t count(const StoredObject& object, const std::string& name, std::int64_t low, std::int64_t high) {
    return static_cast<std::size_t>(read_integer_attribute(object, name, low, high));
  }

  static double real(const StoredObject& object, const std::string& name, double high) {
    const double value = read_real_attribute(object, name);
    if (!(value >= 0 && value <= high))
      throw Violation(
          fmt::format("attribute {} of /budget: expected a number from 0 to {}, found {}", name, high, value));
    return value;
  }

  void read_layers(LearnedPolicy& policy) {
    std::int64_t last = -1;
    for (const std::int64_t layer : read_integers_attribute(root_, "layers")) {
      if (layer <= last || layer >= static_cast<std::int64_t>(policy.n_layers))
        throw Violation(fmt::format("attribute layers of /: expected ascending layers below {}, found {} after {}",
                                    policy.n_layers, layer, last));
      policy.layers.push_back(static_cast<std::size_t>(last = layer));
    }
    if (policy.layers.empty()) throw Violation("attribute layers of /: expected a layer, found none");
  }

  // All finite.
  std::vector<float> read_array(const std::string& name, const ExpectedShape& shape) {
    const StoredArray array = open_array(root_, name, shape);
    allowance_.spend(array);
    const std::vector<double> values = read_reals(array);
    const auto bad = std::ranges::find_if_not(values, [](double x) { return std::isfinite(static_cast<float>(x)); });
    if (bad != values.end())
      throw Violation(fmt::format("/{}: expected finite numbers, found {} as number {} of {}", name, *bad,
                                  bad - values.begin(), shape_text(array.dims())));
    return {values.begin(), values.end()};
  }

  std::vector<float> read_array(const std::string& name, const std::vector<std::size_t>& shape) {
    return read_array(name, ExpectedShape(shape.begin(), shape.end()));
  }

  // Rising from above 0 up to 1.
  std::vector<double> read_fractions(const std::string& name) {
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

  void refuse_negative(const std::string& name, const std::vector<float>& values) {
    const auto bad = std::ranges::find_if(values, [](float x) { return x < 0; });
    if (bad != values.end()) throw Violation(fmt::format("/{}: expected numbers of at least 0, found {}", name, *bad));
  }

  std::vector<std::string> read_texts(const std::string& name) {
    const StoredArray array = open_array(root_, name, {std::nullopt});
    allowance_.spend(array);
    return read_names(array);
  }

  LearnedBudgets read_budgets(const Extents& extents) {
    const StoredGroup group = open_group(root_, "budget");
    LearnedBudgets budgets{
        .scorer = read_name_attribute(group, "scorer"),
        .metric = read_name_attribute(group, "metric"),
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

  LearnedScorer read_scorer(const Extents& extents) {
    const StoredGroup group = open_group(root_, "scorer");
    LearnedScorer scorer{.name = read_name_attribute(group, "name"),
                         .features = read_name_attribute(group, "features"),
                         .keep_first = count(group, "keep_first", 0, kMostHeads),
                         .keep_last = count(group, "keep_last", 0, kMostHeads),
                         .networks = read_networks("scorer", extents)};
    while (has_link(group, fold_name(scorer.folds.size())))
      scorer.folds.push_back(read_networks("scorer/" + fold_name(scorer.folds.size()), extents));
    return scorer;
  }

  HeadNetworks read_networks(const std::string& group, Extents extents) {
    const StoredArray w1 =
        open_array(root_, group + "/w1", {extents.layers, extents.kv_heads, std::nullopt, std::nullopt});
    extents.features = w1.dims()[2];
    extents.hidden = w1.dims()[3];
    HeadNetworks networks{.n_features = extents.features, .n_hidden = extents.hidden};
    for (const NetworkArray& array : kNetworkArrays)
      networks.*array.values = read_array(fmt::format("{}/{}", group, array.name), array.shape(extents));
    if (const auto bad = std::ranges::find_if(networks.sd, [](float x) { return x <= 0; }); bad != networks.sd.end())
      throw Violation(fmt::format("/{}/sd: expected numbers above 0, found {}", group, *bad));
    networks.trained_on = read_texts(group + "/trained_on");
    return networks;
  }

  const InputFile& file_;
  StoredGroup root_;
  ReadAllowance allowance_;
};

// ---- writing

// In one chunk with a check sum: damaged numbers are refused when they are read.
void write_array(hid_t group, const std::string& name, const std::vector<std::size_t>& shape,
                 const std::vector<float>& values) {
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  const PropertyList creation = dataset_creation();
  check("chunk", group, name, [&] { return H5Pset_chunk(creation, static_cast<int>(dims.size()), dims.data()); });
  check("protect", group, name, [&] { return H5Pset_fletcher32(creation); });
  hdf5::Dataset dataset = create_dataset(group, name, H5T_IEEE_F32LE, new_space(dims), creation);
  check("write", group, name,
        [&] { return H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()); });
  dataset.close();
}

void write_fractions(hid_t group, const std::string& name, const std::vector<double>& values) {
  write_array(group, name, {values.size()}, {values.begin(), values.end()});
}

void write_budgets(const File& file, const LearnedBudgets& budgets, const Extents& n) {
  const Group group = create_group(file, "budget");
  write_attribute(group, "scorer", budgets.scorer);
  write_attribute(group, "metric", budgets.metric);
  write_attribute(group, "prompt_length", budgets.prompt_length);
  write_attribute(group, "uniform_mix", budgets.uniform_mix);
  write_attribute(group, "least_tokens", static_cast<std::int64_t>(budgets.least_tokens));
  write_attribute(group, "keep_first", static_cast<std::int64_t>(budgets.keep_first));
  write_fractions(group, "grid", budgets.grid);
  write_fractions(group, "retained", budgets.retained);
  write_array(group, "curve", {n.layers, n.kv_heads, budgets.grid.size()}, budgets.curve);
  write_array(group, "fraction", {budgets.retained.size(), n.layers, n.kv_heads}, budgets.fraction);
  write_strings(group, "trained_on", budgets.trained_on);
}

void write_networks(const Group& group, const HeadNetworks& networks, Extents n) {
  n.features = networks.n_features;
  n.hidden = networks.n_hidden;
  for (const NetworkArray& array : kNetworkArrays)
    write_array(group, array.name, array.shape(n), networks.*array.values);
  write_strings(group, "trained_on", networks.trained_on);
}

void write_scorer(const File& file, const LearnedScorer& scorer, const Extents& n) {
  const Group group = create_group(file, "scorer");
  write_attribute(group, "name", scorer.name);
  write_attribute(group, "features", scorer.features);
  write_attribute(group, "keep_first", static_cast<std::int64_t>(scorer.keep_first));
  write_attribute(group, "keep_last", static_cast<std::int64_t>(scorer.keep_last));
  write_networks(group, scorer.networks, n);
  for (std::size_t fold = 0; fold < scorer.folds.size(); ++fold)
    write_networks(create_group(group, fold_name(fold)), scorer.folds[fold], n);
}

void write_all(const File& file, const LearnedPolicy& policy) {
  write_attribute(file, "format", std::string(kFormat));
  write_attribute(file, "creator", std::string("kvreplay ") + KVREPLAY_VERSION);
  write_attribute(file, "model_id", policy.model_id);
  for (const auto& [name, value] : {std::pair{"n_layers", policy.n_layers},
                                    {"n_q_heads", policy.n_q_heads},
                                    {"n_kv_heads", policy.n_kv_heads},
                                    {"head_dim", policy.head_dim},
                                    {"value_dim", policy.value_dim}})
    write_attribute(file, name, static_cast<std::int64_t>(value));
  write_attribute(file, "layers", std::vector<std::int64_t>(policy.layers.begin(), policy.layers.end()));
  const Extents extents{.layers = policy.layers.size(), .kv_heads = policy.n_kv_heads};
  if (policy.budgets) write_budgets(file, *policy.budgets, extents);
  if (policy.scorer) write_scorer(file, *policy.scorer, extents);
}

void copy_scorer(const InputFile& from, hid_t to) try {
  copy_group(open_group(root_of(from.stored()), "scorer"), to, "scorer");
} catch (const Violation& violation) {
  throw InputError(fmt::format("{}: {}", from.path().string(), violation.what()));
}

}  // namespace

LearnedPolicy read_learned_policy_file(const InputFile& file) {
  return naming_file<InputError>(file.path(), [&] { return LkvReader(file).read(); });
}

void use_learned_policy_files() {
  set_learned_policy_reader([](const std::filesystem::path& path) { return read_learned_policy_file(path); });
}

void write_learned_policy_file(const std::filesystem::path& path, const LearnedPolicy& policy,
                               const std::optional<InputFile>& scorer_from) {
  naming_file<SystemError>(path, [&] {
    NewHdf5File file(path, false);
    try {
      write_all(file.file(), policy);
      if (scorer_from) copy_scorer(*scorer_from, file.file());
    } catch (...) {
      file.discard();
      throw;
    }
    file.commit();
  });
}

}  // namespace kvreplay
