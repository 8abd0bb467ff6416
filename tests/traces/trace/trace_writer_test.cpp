#include "traces/trace/trace_writer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "tests/support/trace_fixture.h"
#include "traces/results/dataset_file.h"
#include "traces/trace/trace_reader.h"

#ifdef __SANITIZE_ADDRESS__
// When a disk is full HDF5 1.10 forgets the chunks that it could not write.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }
#endif

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr int kFailure = static_cast<int>(ExitCode::failure);
constexpr int kUsage = static_cast<int>(ExitCode::usage);
constexpr int kBadInput = static_cast<int>(ExitCode::bad_input);

/// A file system of 1 MiB, if we may mount one.
class SmallDisk {
 public:
  SmallDisk() { mounted_ = mount("none", folder_.path().c_str(), "tmpfs", 0, "size=1m") == 0; }
  ~SmallDisk() {
    if (mounted_) umount2(folder_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

std::size_t n_open_files() {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

/// One layer of keys and values that take 5 MiB as float16, or with noise that gzip cannot shrink.
void write_large(const std::filesystem::path& path, bool gzip) {
  TraceInfo info = small_info();
  info.layers.resize(1);
  info.layers[0].has_output_projection = false;
  info.samples.resize(1);
  SampleInfo& sample = info.samples[0];
  sample.n_tokens = 131072;
  sample.token_ids.assign(sample.n_tokens, 1);
  sample.token_texts.clear();
  sample.has_block_cosine = false;
  sample.probes.clear();
  sample.sensitivities.clear();
  sample.decode_start = sample.n_tokens;
  sample.query_ranges.clear();
  TraceWriter writer(path, info, {.gzip = gzip});
  std::uint32_t state = 1;
  for (const TraceTensor tensor : {TraceTensor::keys, TraceTensor::values})
    for (std::size_t h = 0; h < 2; ++h) {
      Tensor rows(1, sample.n_tokens, tensor == TraceTensor::keys ? 6 : 4);
      for (float& value : rows.values())
        value = static_cast<float>((state = state * 1664525u + 1013904223u) >> 16) / 8192;
      writer.write(0, 0, tensor, h, 0, rows.matrix(0));
    }
  writer.commit();
}

}  // namespace

TEST_CASE("a writer that is destroyed before commit() leaves nothing, and an older file as it was") {
  const TemporaryFolder folder;
  { const TraceWriter writer(folder / "a.h5", small_info()); }
  CHECK(std::filesystem::is_empty(folder.path()));

  write_bytes(folder / "a.h5", {'o', 'l', 'd'});
  {
    const TraceWriter writer(folder / "a.h5", small_info(), {.overwrite = true});
    CHECK(std::filesystem::exists(folder / "a.h5.tmp"));
  }
  CHECK(bytes_of(folder / "a.h5") == std::vector<char>{'o', 'l', 'd'});
  CHECK_FALSE(std::filesystem::exists(folder / "a.h5.tmp"));
}

TEST_CASE("an existing file is replaced only when that is allowed") {
  const TemporaryFolder folder;
  write_bytes(folder / "a.h5", {'o', 'l', 'd'});
  int code = 0;
  CHECK(message_of([&] { write_trace(folder / "a.h5", small_info()); }, &code) ==
        (folder / "a.h5").string() + ": exists already");
  CHECK(code == kUsage);
  CHECK_FALSE(std::filesystem::exists(folder / "a.h5.tmp"));
  write_trace(folder / "a.h5", small_info(), {.overwrite = true});
  CHECK(TraceReader(folder / "a.h5").info().samples.size() == 2);
}

TEST_CASE("what a killed writer left behind is in nobody's way") {
  const TemporaryFolder folder;
  write_bytes(folder / "a.h5.tmp", std::vector<char>(1 << 20, 'x'));
  write_trace(folder / "a.h5", small_info());
  CHECK(TraceReader(folder / "a.h5").info().samples.size() == 2);
  write_trace(folder / "b.h5", small_info());
  CHECK(bytes_of(folder / "a.h5") == bytes_of(folder / "b.h5"));
}

TEST_CASE("two writers of one file: the second is refused, the first is not harmed") {
  const TemporaryFolder folder;
  const std::string path = (folder / "a.h5").string();
  const std::string temporary = path + ".tmp";
  const int descriptor = open(temporary.c_str(), O_RDWR | O_CREAT, 0600);  // as another process would hold it
  REQUIRE(flock(descriptor, LOCK_EX) == 0);
  REQUIRE(write(descriptor, "first", 5) == 5);
  int code = 0;
  CHECK(message_of([&] { write_trace(path, small_info()); }, &code) ==
        temporary + ": cannot create: another process is writing it");
  CHECK(code == kFailure);
  CHECK(bytes_of(temporary).size() == 5);
  close(descriptor);
}

TEST_CASE("a trace cannot be written to a folder that is missing, or in place of a folder") {
  const TemporaryFolder folder;
  int code = 0;
  CHECK(message_of([&] { write_trace(folder / "no/a.h5", small_info()); }, &code) ==
        (folder / "no/a.h5.tmp").string() + ": cannot create: No such file or directory");
  CHECK(code == kFailure);
  CHECK(message_of([&] { write_trace(folder.path(), small_info(), {.overwrite = true}); }, &code) ==
        folder.path().string() + ": is a folder");
  CHECK(code == kUsage);
}

TEST_CASE("info that contradicts the schema is refused before a file is made") {
  const TemporaryFolder folder;
  const auto says = [&](const std::function<void(TraceInfo&)>& spoil, const std::string& expected) {
    TraceInfo info = small_info();
    spoil(info);
    int code = 0;
    CHECK(message_of([&] { TraceWriter(folder / "a.h5", info); }, &code) ==
          (folder / "a.h5").string() + ": " + expected);
    CHECK(code == kBadInput);
    CHECK(std::filesystem::is_empty(folder.path()));
  };
  says([](TraceInfo& info) { info.model.n_kv_heads = 3; },
       "attribute n_kv_heads of /: expected a divisor of n_q_heads = 4, found 3");
  says([](TraceInfo& info) { info.model.softmax_scale = 0; },
       "attribute softmax_scale of /: expected a positive number, found 0");
  says([](TraceInfo& info) { info.model.head_dim = 2000; }, "attribute head_dim of /: expected 1 to 1024, found 2000");
  says([](TraceInfo& info) { std::swap(info.layers[0], info.layers[1]); },
       "attribute layers of /: expected ascending indices, found 1 after 3");
  says([](TraceInfo& info) { info.layers[1].rope.layout = RopeLayout::none; },
       "/model/layers/03: expected the model's rope layout half (frequency 0 leaves a pair alone), found none");
  says([](TraceInfo& info) { info.model.rope.inv_freq.clear(); },
       "/rope_inv_freq: expected frequencies, because rope_layout is half, found none");
  says([](TraceInfo& info) { info.samples.clear(); }, "/samples: expected at least one sample, found none");
  says([](TraceInfo& info) { info.samples[1].name = info.samples[0].name; },
       R"(attribute name of /samples/0001: expected a name of its own, found "prompt of 40" again)");
  says([](TraceInfo& info) { info.samples[0].token_ids.pop_back(); },
       "/samples/0000/token_ids: expected n_tokens = 40 elements, found 39");
  says([](TraceInfo& info) { info.samples[0].token_texts.pop_back(); },
       "/samples/0000/token_texts: expected n_tokens = 40 elements, found 39");
  says([](TraceInfo& info) { info.samples[0].decode_start = 0; },
       "attribute decode_start of /samples/0000: expected 1 to n_tokens = 40, found 0");
  says([](TraceInfo& info) { info.samples[0].probes[0].compression_point = "answer"; },
       R"(/samples/0000/probes: expected names of compression points, found "answer")");
  says([](TraceInfo& info) { info.samples[0].probes.push_back(info.samples[0].probes[0]); },
       R"(/samples/0000/probes: expected names that differ, found "prompt" twice)");
  says([](TraceInfo& info) { info.samples[0].probes[0].n_rows = 40; },
       "/samples/0000/probes/prompt/chunks: expected rows up to n_probe = 40, found 39");
  says([](TraceInfo& info) { info.samples[0].compression_points[1].position = 34; },
       "/samples/0000/probes/prompt/chunks[1]: expected a context that is not empty, in [20, position = 34), "
       "found [20, 35)");
  for (const char* name : {"", ".", "a/b"})
    says(
        [&](TraceInfo& info) {
          info.samples[0].compression_points[1].name = info.samples[0].probes[0].compression_point = name;
        },
        fmt::format(
            "/samples/0000/compression_points: expected a name that is not empty, '.' or '..', and without '/', found "
            "\"{}\"",
            name));
  says([](TraceInfo& info) { info.samples[0].token_texts[3] = std::string("a\0b", 3); },
       "/samples/0000/token_texts[3]: expected text, found a NUL character at byte 1");
}

TEST_CASE("values that the dtype cannot hold are refused, not stored as infinity") {
  const TemporaryFolder folder;
  const auto says = [&](DType dtype, float value, const std::string& expected) {
    TraceWriter writer(folder / "a.h5", small_info(dtype));
    std::vector<float> row(6, 1.0f);
    row[4] = value;
    int code = 0;
    const auto write = [&] { writer.write(0, 1, TraceTensor::keys, 1, 7, {row.data(), 1, 6, 6}); };
    CHECK(message_of(write, &code) == (expected.empty() ? "" : (folder / "a.h5").string() + ": " + expected));
    if (!expected.empty()) CHECK(code == kBadInput);
  };
  const std::string place =
      "/samples/0000/layers/03/keys: head 1, row 7, channel 4: expected a value that is finite as ";
  says(DType::float16, 65519.0f, "");
  says(DType::float16, 65520.0f, place + "float16, found 65520");
  says(DType::bfloat16, 65520.0f, "");
  says(DType::bfloat16, std::numeric_limits<float>::max(), place + "bfloat16, found 3.4028235e+38");
  says(DType::float32, std::numeric_limits<float>::max(), "");
  says(DType::float32, NAN, place + "float32, found nan");
}

TEST_CASE("a trace with rows missing is not committed") {
  const TemporaryFolder folder;
  TraceWriter writer(folder / "a.h5", small_info());
  CHECK_THROWS_WITH_AS(writer.commit(),
                       "/model/layers/01/output_projection: 0 of 160 elements were written before commit()",
                       std::logic_error);
  CHECK_THROWS_AS(writer.write(0, 0, TraceTensor::keys, 2, 0, {}), std::logic_error);
}

TEST_CASE("probes are written whole, and only where the trace has them") {
  const TemporaryFolder folder;
  const TraceInfo info = small_info();
  TraceWriter writer(folder / "a.h5", info);
  const ProbeInfo& probe = info.samples[0].probes[0];
  const Tensor queries = probe_tensor(info, probe, TraceTensor::queries, 0, 0);
  Tensor keys = probe_tensor(info, probe, TraceTensor::keys, 0, 0);
  const std::string path = "/samples/0000/probes/prompt/layers/01";
  CHECK_THROWS_WITH_AS(writer.write_probes(0, 0, "prompt", keys, keys),
                       (path + "/queries is [4, 39, 6]: cannot write [2, 39, 6]").c_str(), std::logic_error);
  CHECK_THROWS_WITH_AS(writer.write_probes(1, 0, "prompt", queries, keys),
                       "/samples/0001/probes/prompt/layers/01: no such probe", std::logic_error);
  keys.matrix(1)(38, 5) = 1e6f;
  CHECK(message_of([&] { writer.write_probes(0, 0, "prompt", queries, keys); }) ==
        (folder / "a.h5").string() + ": " + path +
            "/keys: head 1, row 38, channel 5: expected a value that is finite as float16, found 1000000");
}

TEST_CASE("sensitivities are written whole, and only where the trace has them") {
  const TemporaryFolder folder;
  const TraceInfo info = small_info();
  TraceWriter writer(folder / "a.h5", info);
  const SensitivityInfo& sensitivity = info.samples[0].sensitivities[0];
  const std::vector<std::int8_t> gradient = expected_gradient(sensitivity, 0);
  std::vector<float> scale = expected_scale(sensitivity, 0);
  const std::string path = "/samples/0000/sensitivity/prompt/layers/01";
  CHECK_THROWS_WITH_AS(writer.write_sensitivity(0, 0, "prompt", std::span(gradient).first(7), scale),
                       (path + "/gradient is [3, 5, 16]: cannot write 7 elements with 15 scales").c_str(),
                       std::logic_error);
  CHECK_THROWS_WITH_AS(writer.write_sensitivity(1, 0, "prompt", gradient, scale),
                       "/samples/0001/sensitivity/prompt/layers/01: no such sensitivities", std::logic_error);
  scale[7] = -1;
  CHECK(message_of([&] { writer.write_sensitivity(0, 0, "prompt", gradient, scale); }) ==
        (folder / "a.h5").string() + ": " + path +
            "/scale: sketch 1, query 2: expected a finite number from 0, found -1");
}

TEST_CASE("on a full disk the file and the reason are named, and nothing stays behind") {
  const SmallDisk disk;
  if (!disk.mounted()) {
    MESSAGE("skipped: cannot mount a small tmpfs: ", std::strerror(errno));
    return;
  }
  const TemporaryFolder& folder = disk.folder();
  const std::size_t n_open_before = n_open_files();
  for (const bool gzip : {false, true}) {
    CAPTURE(gzip);
    int code = 0;
    const std::string message = message_of([&] { write_large(folder / "large.h5", gzip); }, &code);
    CHECK(message.starts_with((folder / "large.h5").string() + ": cannot "));
    CHECK(message.ends_with(": No space left on device"));
    CHECK(message.find('\n') == std::string::npos);
    CHECK(code == kFailure);
    CHECK(std::filesystem::is_empty(folder.path()));
  }
  Dataset labels, values;  // contiguous, and in compressed chunks
  labels.dimensions = {{"i", std::vector<std::int64_t>(300'000), {}}};
  values.dimensions = {{"i", std::vector<std::int64_t>(1000), {}}, {"j", std::vector<std::int64_t>(300), {}}};
  values.variables = {{"v", {"i", "j"}, std::vector<double>(300'000), {}}};
  for (std::size_t i = 0; i < 300'000; ++i) values.variables[0].values[i] = std::sqrt(static_cast<double>(i));
  for (const Dataset& dataset : {labels, values}) {
    int code = 0;
    const std::string message = message_of([&] { write_dataset(folder / "results.h5", dataset); }, &code);
    CHECK(message.starts_with((folder / "results.h5").string() + ": cannot write /"));
    CHECK(message.ends_with(": No space left on device"));
    CHECK(code == kFailure);
    CHECK(std::filesystem::is_empty(folder.path()));
  }
  CHECK(n_open_files() == n_open_before);
  write_trace(folder / "small.h5", small_info());  // the library and the disk still work
  CHECK(TraceReader(folder / "small.h5").info().samples.size() == 2);
}

TEST_CASE("a disk that fills up at the very end is noticed too") {
  const SmallDisk disk;
  if (!disk.mounted()) {
    MESSAGE("skipped: cannot mount a small tmpfs: ", std::strerror(errno));
    return;
  }
  const TemporaryFolder& folder = disk.folder();
  write_trace(folder / "a.h5", small_info());
  const std::size_t needed = std::filesystem::file_size(folder / "a.h5");
  std::filesystem::remove(folder / "a.h5");
  for (std::size_t room = 0; room < needed; room += 8 * 4096) {
    CAPTURE(room);
    write_bytes(folder / "filler", std::vector<char>((1 << 20) - room, 'x'));
    int code = 0;
    const std::string message = message_of([&] { write_trace(folder / "a.h5", small_info()); }, &code);
    CHECK(message.ends_with(": No space left on device"));
    CHECK(code == kFailure);
    std::filesystem::remove(folder / "filler");
    CHECK(std::filesystem::is_empty(folder.path()));
  }
}
