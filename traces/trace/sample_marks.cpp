// What is marked in a sample: which queries are recorded, spans of tokens, and where policies may act.

#include <fmt/format.h>

#include <set>

#include "traces/hdf5/hdf5_values.h"
#include "traces/trace/sample_objects.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::trace_schema {

using namespace hdf5;

namespace {

void check_query_ranges(const std::string& path, const SampleInfo& sample) {
  std::size_t last_end = 0;
  for (std::size_t i = 0; i < sample.query_ranges.size(); ++i) {
    const Range& range = sample.query_ranges[i];
    if (range.begin >= range.end || range.begin < last_end || range.end > sample.n_tokens)
      violate("{}/query_ranges[{}]: expected a range that is not empty, in [{}, n_tokens = {}), found [{}, {})", path,
              i, last_end, sample.n_tokens, range.begin, range.end);
    last_end = range.end;
  }
}

void check_spans(const std::string& path, const SampleInfo& sample) {
  for (std::size_t i = 0; i < sample.spans.size(); ++i) {
    check_name(fmt::format("{}/spans, entry {}", path, i), sample.spans[i].name);
    const Range& tokens = sample.spans[i].tokens;
    if (tokens.begin >= tokens.end || tokens.end > sample.n_tokens)
      violate("{}/spans, entry {} {:?}: expected a range that is not empty, in [0, n_tokens = {}), found [{}, {})",
              path, i, sample.spans[i].name, sample.n_tokens, tokens.begin, tokens.end);
    if (i == 0) continue;
    const Range& before = sample.spans[i - 1].tokens;
    if (tokens.begin < before.begin || (tokens.begin == before.begin && tokens.end < before.end))
      violate("{}/spans, entry {} {:?}: expected order by begin, then end, found [{}, {}) after [{}, {})", path, i,
              sample.spans[i].name, tokens.begin, tokens.end, before.begin, before.end);
  }
}

void check_compression_points(const std::string& path, const SampleInfo& sample) {
  // Without queries nothing is asked of the tokens after it, so that there need not be any.
  const std::size_t last_place = sample.n_tokens - (sample.query_ranges.empty() ? 0 : 1);
  std::set<std::string_view> names;
  std::size_t last = 0;
  for (const CompressionPoint& point : sample.compression_points) {
    check_name(path + "/compression_points", point.name);
    // Groups of files are called by it.
    if (point.name.empty() || point.name == "." || point.name == ".." || point.name.find('/') != std::string::npos)
      violate("{}/compression_points: expected a name that is not empty, '.' or '..', and without '/', found {:?}",
              path, point.name);
    if (point.position == 0 || point.position > last_place)
      violate("{}/compression_points, {:?}: expected a position in 1 to {}, found {}", path, point.name, last_place,
              point.position);
    if (point.position < last)
      violate("{}/compression_points, {:?}: expected ascending positions, found {} after {}", path, point.name,
              point.position, last);
    if (!names.insert(point.name).second)
      violate("{}/compression_points: expected names that differ, found {:?} twice", path, point.name);
    last = point.position;
  }
}

void read_spans(const SampleSource& source, SampleInfo& sample) {
  const StoredGroup spans = open_group(source.group, "spans");
  std::vector<std::string> names = read_strings(source.open(spans, "name", std::nullopt));
  const std::vector<std::int64_t> begins = read_integers(source.open(spans, "begin", names.size()));
  const std::vector<std::int64_t> ends = read_integers(source.open(spans, "end", names.size()));
  const std::string& place = spans.path;
  for (std::size_t i = 0; i < names.size(); ++i)
    sample.spans.push_back(
        {std::move(names[i]), {as_size(begins[i], place + "/begin"), as_size(ends[i], place + "/end")}});
}

void write_spans(const SampleTarget& target) {
  const Group group = create_group(target.group, "spans");
  std::vector<std::string> names;
  std::vector<std::int64_t> begins, ends;
  for (const Span& span : target.sample().spans) {
    names.push_back(span.name);
    begins.push_back(static_cast<std::int64_t>(span.tokens.begin));
    ends.push_back(static_cast<std::int64_t>(span.tokens.end));
  }
  write_strings(group, "name", names);
  write_numbers(group, "begin", H5T_STD_I64LE, begins);
  write_numbers(group, "end", H5T_STD_I64LE, ends);
}

void read_compression_points(const SampleSource& source, SampleInfo& sample) {
  const StoredGroup points = open_group(source.group, "compression_points");
  std::vector<std::string> names = read_strings(source.open(points, "name", std::nullopt));
  const std::vector<std::int64_t> positions = read_integers(source.open(points, "position", names.size()));
  for (std::size_t i = 0; i < names.size(); ++i)
    sample.compression_points.push_back({std::move(names[i]), as_size(positions[i], points.path + "/position")});
}

void write_compression_points(const SampleTarget& target) {
  const Group group = create_group(target.group, "compression_points");
  std::vector<std::string> names;
  std::vector<std::int64_t> positions;
  for (const CompressionPoint& point : target.sample().compression_points) {
    names.push_back(point.name);
    positions.push_back(static_cast<std::int64_t>(point.position));
  }
  write_strings(group, "name", names);
  write_numbers(group, "position", H5T_STD_I64LE, positions);
}

}  // namespace

const SampleObject kQueryRanges{
    .name = "query_ranges",
    .recorded = nullptr,
    .read =
        [](const SampleSource& source, SampleInfo& sample) {
          const std::vector<std::size_t> bounds = source.read_table(source.group, "query_ranges", 2);
          for (std::size_t i = 0; i < bounds.size(); i += 2) sample.query_ranges.push_back({bounds[i], bounds[i + 1]});
        },
    .write =
        [](const SampleTarget& target) {
          std::vector<std::size_t> bounds;
          for (const Range& range : target.sample().query_ranges) bounds.insert(bounds.end(), {range.begin, range.end});
          write_table(target.group, "query_ranges", 2, bounds);
        },
    .check = check_query_ranges,
};

const SampleObject kSpans{
    .name = "spans",
    .recorded = [](const SampleInfo& sample) { return !sample.spans.empty(); },
    .read = read_spans,
    .write = write_spans,
    .check = check_spans,
};

const SampleObject kCompressionPoints{
    .name = "compression_points",
    .recorded = nullptr,
    .read = read_compression_points,
    .write = write_compression_points,
    .check = check_compression_points,
};

}  // namespace kvreplay::trace_schema
