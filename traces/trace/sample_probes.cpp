// Probes: passes after a compression point that ask the model to repeat the context.

#include <fmt/format.h>

#include <set>

#include "traces/hdf5/hdf5_values.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {

using namespace hdf5;

namespace {

void check_chunks(const std::string& path, const ProbeInfo& probe, std::size_t position) {
  if (probe.chunks.empty()) violate("{}/chunks: expected at least one chunk, found none", path);
  std::size_t last_end = 0, n_rows = 0;
  for (std::size_t i = 0; i < probe.chunks.size(); ++i) {
    const auto& [context, rows] = probe.chunks[i];
    if (context.begin >= context.end || context.begin < last_end || context.end > position)
      violate("{}/chunks[{}]: expected a context that is not empty, in [{}, position = {}), found [{}, {})", path, i,
              last_end, position, context.begin, context.end);
    if (rows.begin != n_rows || rows.end <= rows.begin)
      violate("{}/chunks[{}]: expected rows that are not empty, from {} on, found [{}, {})", path, i, n_rows,
              rows.begin, rows.end);
    last_end = context.end;
    n_rows = rows.end;
  }
  if (n_rows != probe.n_rows)
    violate("{}/chunks: expected rows up to n_probe = {}, found {}", path, probe.n_rows, n_rows);
}

void check_probes(const std::string& path, const SampleInfo& sample) {
  std::set<std::string_view> names;
  for (const ProbeInfo& probe : sample.probes) {
    const std::size_t position = check_point_name(path + "/probes", sample, probe.compression_point, names);
    check_chunks(fmt::format("{}/probes/{}", path, probe.compression_point), probe, position);
  }
}

void read_probes(const SampleSource& source, SampleInfo& sample) {
  const StoredGroup probes = open_group(source.group, "probes");
  for (std::string& name : link_names(probes)) {
    const std::vector<std::size_t> bounds = source.read_table(open_group(probes, name), "chunks", 4);
    ProbeInfo probe;
    probe.compression_point = std::move(name);
    for (std::size_t i = 0; i < bounds.size(); i += 4)
      probe.chunks.push_back({{bounds[i], bounds[i + 1]}, {bounds[i + 2], bounds[i + 3]}});
    if (!probe.chunks.empty()) probe.n_rows = probe.chunks.back().rows.end;
    sample.probes.push_back(std::move(probe));
  }
}

void write_probes(const SampleTarget& target) {
  const Group group = create_group(target.group, "probes");
  for (const ProbeInfo& probe : target.sample().probes) {
    const Group own = create_group(group, probe.compression_point);
    std::vector<std::size_t> bounds;
    for (const auto& [context, rows] : probe.chunks)
      bounds.insert(bounds.end(), {context.begin, context.end, rows.begin, rows.end});
    write_table(own, "chunks", 4, bounds);
    target.create_arrays(own, ArrayOwner::probe, {.probe = &probe});
  }
}

}  // namespace

const SampleObject kProbes{
    .name = "probes",
    .recorded = [](const SampleInfo& sample) { return !sample.probes.empty(); },
    .read = read_probes,
    .write = write_probes,
    .check = check_probes,
};

}  // namespace kvreplay::trace_schema
