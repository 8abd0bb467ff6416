#include <fmt/format.h>

#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/naming_file.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/learned/lkv_file.h"
#include "traces/learned/lkv_layout.h"

namespace kvreplay {
namespace {

using namespace hdf5;
using lkv_layout::Extents;

// In one chunk with a check sum: damaged numbers are refused when they are read.
void write_array(hid_t group, const std::string& name, const std::vector<std::size_t>& shape,
                 const std::vector<float>& values) {
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  const PropertyList creation = dataset_creation();
  check("chunk", group, name, [&] { return H5Pset_chunk(creation, static_cast<int>(dims.size()), dims.data()); });
  check("protect", group, name, [&] { return H5Pset_fletcher32(creation); });
  const Dataset dataset = create_dataset(group, name, H5T_IEEE_F32LE, new_space(dims), creation);
  check("write", group, name,
        [&] { return H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()); });
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
  for (const lkv_layout::NetworkArray& array : lkv_layout::kNetworkArrays)
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
    write_networks(create_group(group, lkv_layout::fold_name(fold)), scorer.folds[fold], n);
}

void copy_scorer(const std::filesystem::path& from, const File& to) {
  const File source = open_file(from);
  check("copy the scorer into", to, "scorer",
        [&] { return H5Ocopy(source, "scorer", to, "scorer", H5P_DEFAULT, H5P_DEFAULT); });
}

void write_all(const File& file, const LearnedPolicy& policy) {
  write_attribute(file, "format", std::string(lkv_layout::kFormat));
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

}  // namespace

void write_lkv_file(const std::filesystem::path& path, const LearnedPolicy& policy,
                    const std::filesystem::path& scorer_from) {
  naming_file<SystemError>(path, [&] {
    NewHdf5File file(path, false);
    try {
      write_all(file.file(), policy);
      if (!scorer_from.empty()) copy_scorer(scorer_from, file.file());
    } catch (...) {
      file.discard();
      throw;
    }
    file.commit();
  });
}

}  // namespace kvreplay
