// What reading a layer costs, against plain reads of the same bytes; the file lies in the page cache.
//   build/kvreplay_read_bench TRACE [OTHER_TRACE ...] [Google Benchmark options]
// Other traces, such as the same one compressed, are read as well.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/matrix.h"
#include "core/base/parallel.h"
#include "tests/bench/bench_main.h"
#include "traces/input/stored_array.h"
#include "traces/trace/trace_reader.h"
#include "traces/trace/trace_schema.h"

namespace kvreplay::bench {
namespace {

constexpr std::size_t kPiece = 1 << 20;

struct Piece {
  std::uint64_t address;
  std::size_t size, position;  // position: in a buffer that holds all
};

// The middle one of the recorded layers.
struct Layer {
  explicit Layer(const std::string& path) : file(path), trace(file), layer(trace.info().layers.size() / 2) {
    const hdf5::StoredGroup root = hdf5::root_of(file.stored());
    const auto add = [&](const std::string& group, const char* name) {
      const hdf5::IndexedArray& array = hdf5::open_array(hdf5::open_group(root, group), name).indexed();
      const hdf5::IndexedChunk whole{.address = array.address, .size = array.size};
      for (const hdf5::IndexedChunk& chunk : array.chunks.empty() ? std::vector{whole} : array.chunks)
        for (std::uint64_t done = 0; done < chunk.size; done += kPiece) {
          const std::size_t size = std::min<std::uint64_t>(kPiece, chunk.size - done);
          pieces.push_back({chunk.address + done, size, n_bytes});
          n_bytes += size;
        }
    };
    const LayerInfo& info = trace.info().layers[layer];
    for (const char* name : {"queries", "keys", "values"}) add(trace_schema::sample_layer_path(0, info.index), name);
    if (info.has_output_projection) add(trace_schema::model_layer_path(info.index), "output_projection");
  }

  InputFile file;
  TraceReader trace;
  std::size_t layer;
  LayerData data;
  std::vector<Piece> pieces;
  std::size_t n_bytes = 0;
};

// Chunks that are smaller than a piece are read each for itself.
void read_all(const Layer& layer, std::byte* out) {
  parallel_for(layer.pieces.size(), [&](std::size_t i) {
    const Piece& piece = layer.pieces[i];
    thread_local Buffer<std::byte> small(kPiece);
    layer.file.bytes().read(piece.address, {out ? out + piece.position : small.data(), piece.size});
  });
}

// Times `work` on this many threads; bytes per second are of the file.
template <typename Work>
void measure(benchmark::State& state, std::size_t n_threads, std::size_t n_bytes, const Work& work) {
  with_threads(n_threads, [&] {
    for (auto _ : state) work();
  });
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(n_bytes));
}

template <typename Work>
void add_benchmark(const std::string& name, std::size_t n_threads, std::size_t n_bytes, Work work) {
  benchmark::RegisterBenchmark((name + "/" + std::to_string(n_threads)).c_str(),
                               [=](benchmark::State& state) { measure(state, n_threads, n_bytes, work); })
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime()
      ->UseRealTime();
}

}  // namespace

static int run(int argc, char** argv) {
  std::vector<std::unique_ptr<Layer>> layers;
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i) layers.push_back(std::make_unique<Layer>(argv[i]));
  if (layers.empty()) throw UsageError("usage: kvreplay_read_bench TRACE [OTHER_TRACE ...] [options]");
  const Layer& first = *layers.front();
  Buffer<std::byte> whole(first.n_bytes);
  std::printf("%s: %.1f MB in %zu pieces\n", argv[1], static_cast<double>(first.n_bytes) / 1e6, first.pieces.size());
  for (const std::size_t n_threads : {1, 2}) {
    add_benchmark("pread_small", n_threads, first.n_bytes, [&] { read_all(first, nullptr); });
    add_benchmark("pread_whole", n_threads, first.n_bytes, [&] { read_all(first, whole.data()); });
    add_benchmark("pread_fresh", n_threads, first.n_bytes, [&] {
      Buffer<std::byte> fresh(first.n_bytes);
      read_all(first, fresh.data());
    });
    add_benchmark("read_fresh_layer", n_threads, first.n_bytes,
                  [&] { benchmark::DoNotOptimize(first.trace.read_layer(0, first.layer)); });
    // As a replay does: in the memory of the layer before.
    for (const auto& layer : layers) {
      add_benchmark(
          "read_layer/" + layer->trace.path().filename().string(), n_threads, layer->n_bytes,
          [&layer = *layer] { layer.data = layer.trace.read_layer(0, layer.layer, {}, std::move(layer.data)); });
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace kvreplay::bench

int main(int argc, char** argv) { return kvreplay::bench::run_bench(argc, argv, kvreplay::bench::run); }
