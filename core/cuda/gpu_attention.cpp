// Column sums and rows of attention.

#include <algorithm>

#include "core/cuda/gpu_backend.h"
#include "core/cuda/pack.h"

namespace kvreplay::cuda {
namespace {

// Queries of a head whose columns are added up in float32 before they go to float64, in panels.
constexpr std::size_t kMostPanelsOfSums = kMostLanesOfSums / kPanelWidth;

// Splits tasks into batches that one product can serve: equally many heads in a row share their keys, and keys as
// well as queries are equally far apart.
// \param work  (tasks, heads that share keys)
template <typename Task, typename Work>
void for_each_batch(std::span<const Task> tasks, const Work& work) {
  const auto group_at = [&](std::size_t i) {
    std::size_t n = 1;
    while (i + n < tasks.size() && tasks[i + n].keys.data == tasks[i].keys.data) ++n;
    return n;
  };
  for (std::size_t begin = 0; begin < tasks.size();) {
    const std::size_t group = group_at(begin);
    std::size_t end = begin + group;
    const auto step = [&](std::size_t i, auto member) {
      return (tasks[i].*member).data - (tasks[i - group].*member).data;
    };
    while (end + group <= tasks.size() && group_at(end) == group &&
           (end == begin + group || (step(end, &Task::keys) == step(begin + group, &Task::keys) &&
                                     step(end, &Task::queries) == step(begin + group, &Task::queries))))
      end += group;
    work(tasks.subspan(begin, end - begin), group);
    begin = end;
  }
}

}  // namespace

void GpuBackend::attention_sums(const AttentionRule& rule, std::span<const std::size_t> positions,
                                std::span<const ColumnTask> tasks) {
  for_each_batch(
      tasks, [&](std::span<const ColumnTask> batch, std::size_t group) { sum_columns(rule, positions, batch, group); });
}

void GpuBackend::attention_rows(const AttentionRule& rule, std::span<const std::size_t> positions,
                                std::span<const RowTask> tasks) {
  for_each_batch(tasks,
                 [&](std::span<const RowTask> batch, std::size_t group) { write_rows(rule, positions, batch, group); });
}

void GpuBackend::sum_columns(const AttentionRule& rule, std::span<const std::size_t> positions,
                             std::span<const ColumnTask> tasks, std::size_t group) {
  const std::size_t n_tokens = tasks[0].keys.rows;
  if (positions.empty()) {
    for (const ColumnTask& task : tasks) std::ranges::fill(task.out, 0.0f);
    return;
  }
  Gpu& gpu = gpu_of(tasks[0].keys);
  // Logits of a tile of queries and all heads have to fit; where they do not, heads are done one after the other.
  const std::size_t bytes_of_panel = tasks.size() * n_tokens * kPanelWidth * sizeof(float);
  if (bytes_of_panel > gpu.slot_memory() && tasks.size() > group) {
    const std::size_t half = tasks.size() / group / 2 * group;
    sum_columns(rule, positions, tasks.first(half), group);
    sum_columns(rule, positions, tasks.subspan(half), group);
    return;
  }
  const std::size_t n_panels =
      std::clamp<std::size_t>(gpu.slot_memory() / std::max<std::size_t>(1, bytes_of_panel), 1, kMostPanelsOfSums);
  const StreamSlots::Lease slot(gpu.slots());
  const std::size_t n_batch = tasks.size() / group;
  const DevicePointer<double> totals = slot->room<double>(Room::columns, tasks.size() * n_tokens);
  slot->clear(totals, tasks.size() * n_tokens);
  for (std::size_t begin = 0; begin < positions.size(); begin += n_panels * kPanelWidth) {
    const std::size_t n = std::min(n_panels * kPanelWidth, positions.size() - begin);
    const std::size_t n_lanes = (n + kPanelWidth - 1) / kPanelWidth * kPanelWidth, n_columns = group * n_lanes;
    const std::span<const std::size_t> some = positions.subspan(begin, n);
    const Range keys{rule.first_visible(some.front()), some.back() + 1};
    std::vector<ConstMatrixView> key_views, query_views;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (i % group == 0) key_views.push_back(tasks[i].keys.rows_between(keys.begin, keys.end));
      query_views.push_back(tasks[i].queries.rows_between(begin, begin + n));
    }
    const Products products = resolve(gpu, *slot, key_views, query_views, n_lanes);
    const DevicePointer<float> logits = slot->room<float>(Room::weights, n_batch * keys.size() * n_columns);
    multiply_keys_queries(*slot, products.keys, 0, keys.size(), products.queries, n_columns, rule.scale, logits);
    const SeenKeys seen = seen_keys(rule, some, n_lanes, keys);
    Tables& tables = slot->new_tables();
    const LogitColumns columns = columns_of(*slot, tables, seen, logits, n_batch, keys.size(), n_columns, rule);
    const std::size_t per_chunk = n_batch * n_columns;
    const DevicePointer<float> maxima = slot->room<float>(Room::maxima, (n_chunks(keys.size()) + 2) * per_chunk);
    const DevicePointer<float> sums = maxima + per_chunk, chunks = sums + per_chunk;
    KVREPLAY_CUDA(find_maxima(columns, chunks.get(), maxima.get(), slot->stream()));
    KVREPLAY_CUDA(sum_exponentials(columns, maxima.get(), chunks.get(), sums.get(), slot->stream()));
    KVREPLAY_CUDA(
        add_column_sums(columns, maxima.get(), sums.get(), n, keys.begin, n_tokens, totals.get(), slot->stream()));
    slot->wait();  // rows that were packed on the host go
  }
  std::vector<double> all(tasks.size() * n_tokens);
  slot->download(std::span(all), totals);
  slot->wait();
  for (std::size_t i = 0; i < tasks.size(); ++i)
    std::transform(all.begin() + static_cast<std::ptrdiff_t>(i * n_tokens),
                   all.begin() + static_cast<std::ptrdiff_t>((i + 1) * n_tokens), tasks[i].out.begin(),
                   [](double sum) { return static_cast<float>(sum); });
}

void GpuBackend::write_rows(const AttentionRule& rule, std::span<const std::size_t> positions,
                            std::span<const RowTask> tasks, std::size_t group) {
  if (positions.empty()) return;
  Gpu& gpu = gpu_of(tasks[0].keys);
  const std::size_t n = positions.size(), n_tokens = tasks[0].keys.rows;
  const std::size_t bytes = tasks.size() * n * n_tokens * sizeof(float);
  if (bytes > gpu.slot_memory() && tasks.size() > group) {
    const std::size_t half = tasks.size() / group / 2 * group;
    write_rows(rule, positions, tasks.first(half), group);
    write_rows(rule, positions, tasks.subspan(half), group);
    return;
  }
  const StreamSlots::Lease slot(gpu.slots());
  std::vector<ConstMatrixView> key_views, query_views;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (i % group == 0) key_views.push_back(tasks[i].keys);
    query_views.push_back(tasks[i].queries);
  }
  const Products products = resolve(gpu, *slot, key_views, query_views, n);
  const DevicePointer<float> rows = slot->room<float>(Room::weights, tasks.size() * n * n_tokens);
  multiply_queries_keys(*slot, products.keys, products.queries, group * n, rule.scale, rows);
  const SeenKeys seen = seen_keys(rule, positions, n, {0, n_tokens});
  Tables& tables = slot->new_tables();
  const std::size_t first = tables.add(std::span<const std::int32_t>(seen.first)),
                    last = tables.add(std::span<const std::int32_t>(seen.last));
  tables.send(*slot);
  KVREPLAY_CUDA(softmax_rows(rows.get(), tasks.size(), n, n_tokens, tables.at<std::int32_t>(first),
                             tables.at<std::int32_t>(last), static_cast<float>(rule.softcap), slot->stream()));
  for (std::size_t i = 0; i < tasks.size(); ++i)
    for (std::size_t r = 0; r < n; ++r) slot->download(tasks[i].out.row(r), rows + (i * n + r) * n_tokens);
  slot->wait();
}

}  // namespace kvreplay::cuda
