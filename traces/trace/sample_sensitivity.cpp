// Sensitivities: gradients of the model's predictions, recorded for a compression point.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "traces/hdf5/hdf5_values.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {

using namespace hdf5;

namespace {

/// Of queries that follow each other to the end of the sample, as many as the sample has from `position` on.
void check_targets(const std::string& path, const SampleInfo& sample, const SensitivityInfo& sensitivity,
                   std::size_t position) {
  std::size_t n_queries = 0, next = 0;
  for (const Range& range : sample.query_ranges) {
    const std::size_t begin = std::max(range.begin, position);
    if (range.end <= position) continue;
    if (n_queries > 0 && begin != next)
      violate("{}: expected recorded queries without gaps from the compression point to the end, found none at {}",
              path, next);
    n_queries += range.end - begin;
    next = range.end;
  }
  if (n_queries > 0 && next != sample.n_tokens)
    violate("{}: expected recorded queries to the end, position {}, found the last at {}", path, sample.n_tokens - 1,
            next - 1);
  if (sensitivity.n_queries() != n_queries)
    violate("{}/target_mask: expected one element for each of the {} recorded queries from position {} on, found {}",
            path, n_queries, position, sensitivity.n_queries());
  for (std::size_t t = 0; t < sensitivity.target_mask.size(); ++t)
    if (sensitivity.target_mask[t] > 1)
      violate("{}/target_mask[{}]: expected 0 or 1, found {}", path, t, sensitivity.target_mask[t]);
  if (sensitivity.n_targets() == 0) violate("{}/target_mask: expected at least one 1, found none", path);
}

void check_sensitivities(const std::string& sample_path, const SampleInfo& sample) {
  std::set<std::string_view> names;
  for (const SensitivityInfo& each : sample.sensitivities) {
    const std::string& name = each.compression_point;
    const std::size_t position = check_point_name(sample_path + "/sensitivity", sample, name, names);
    const std::string path = fmt::format("{}/sensitivity/{}", sample_path, name);
    const std::size_t n = each.n_sketches();
    if (n == 0 || n > static_cast<std::size_t>(kMaxSketches))
      violate("{}/level: expected 1 to {} sketches, found {}", path, kMaxSketches, n);
    if (each.seed.size() != n)
      violate("{}/seed: expected n_sketches = {} elements, found {}", path, n, each.seed.size());
    if (each.perturbed_kl.size() != n)
      violate("{}/perturbed_kl: expected n_sketches = {} elements, found {}", path, n, each.perturbed_kl.size());
    if (each.keep_first > position)
      violate("attribute keep_first of {}: expected 0 to the point's position {}, found {}", path, position,
              each.keep_first);
    for (std::size_t r = 0; r < n; ++r) {
      if (!(each.level[r] >= 0 && each.level[r] < 1))
        violate("{}/level[{}]: expected a probability from 0 to below 1, found {}", path, r, each.level[r]);
      if (!std::isfinite(each.perturbed_kl[r]))
        violate("{}/perturbed_kl[{}]: expected a finite number, found {}", path, r, each.perturbed_kl[r]);
    }
    check_targets(path, sample, each, position);
  }
}

void read_sensitivities(const SampleSource& source, SampleInfo& sample) {
  const StoredGroup all = open_group(source.group, "sensitivity");
  for (std::string& name : link_names(all)) {
    const StoredGroup own = open_group(all, name);
    if (const std::string kind = read_string_attribute(own, "kind"); kind != kGaussianFisher)
      violate("attribute kind of {}: expected {:?}, found {:?}", own.path, kGaussianFisher, kind);
    SensitivityInfo info;
    info.compression_point = std::move(name);
    info.keep_first = static_cast<std::size_t>(
        read_integer_attribute(own, "keep_first", 0, std::numeric_limits<std::int64_t>::max()));
    const auto floats = [&](const char* array) {
      const std::vector<double> values = read_reals(source.open(own, array, std::nullopt));
      return std::vector<float>(values.begin(), values.end());
    };
    info.level = floats("level");
    info.perturbed_kl = floats("perturbed_kl");
    info.seed = read_unsigned(source.open(own, "seed", std::nullopt));
    for (const std::int64_t target : read_integers(source.open(own, "target_mask", std::nullopt))) {
      if (target != 0 && target != 1) violate("{}/target_mask: expected 0 and 1, found {}", own.path, target);
      info.target_mask.push_back(static_cast<std::uint8_t>(target));
    }
    sample.sensitivities.push_back(std::move(info));
  }
}

void write_sensitivities(const SampleTarget& target) {
  const Group group = create_group(target.group, "sensitivity");
  for (const SensitivityInfo& each : target.sample().sensitivities) {
    const Group own = create_group(group, each.compression_point);
    write_attribute(own, "kind", std::string(kGaussianFisher));
    write_attribute(own, "keep_first", static_cast<std::int64_t>(each.keep_first));
    write_floats(own, "level", each.level);
    write_unsigned(own, "seed", each.seed);
    write_numbers(own, "target_mask", H5T_STD_U8LE, {each.target_mask.begin(), each.target_mask.end()});
    write_floats(own, "perturbed_kl", each.perturbed_kl);
    target.create_arrays(own, ArrayOwner::sensitivity, {.sensitivity = &each});
  }
}

}  // namespace

const SampleObject kSensitivity{
    .name = "sensitivity",
    .recorded = [](const SampleInfo& sample) { return !sample.sensitivities.empty(); },
    .read = read_sensitivities,
    .write = write_sensitivities,
    .check = check_sensitivities,
};

}  // namespace kvreplay::trace_schema
