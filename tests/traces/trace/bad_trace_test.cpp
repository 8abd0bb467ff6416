#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "tests/support/trace_fixture.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/tensor_creation.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using namespace kvreplay::hdf5;

namespace {

constexpr int kBadInput = static_cast<int>(ExitCode::bad_input);

/// A good trace to be spoilt, and what the reader says about it then.
struct Patient {
  Patient() : path(folder / "trace.h5") { write_trace(path, small_info()); }

  /// Opens the file for writing and runs `change` on it.
  template <typename Change>
  void edit(Change change) const {
    const Lock lock;
    const File file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    REQUIRE(file >= 0);
    change(file);
  }

  template <typename Value>
  void set(const std::string& object, const char* attribute, Value value) const {
    edit([&](hid_t file) {
      const Handle target(H5Oopen(file, object.c_str(), H5P_DEFAULT));
      if (H5Aexists(target, attribute) > 0) REQUIRE(H5Adelete(target, attribute) >= 0);
      write_attribute(target, attribute, value);
    });
  }

  void remove_attribute(const std::string& object, const char* attribute) const {
    edit([&](hid_t file) { REQUIRE(H5Adelete_by_name(file, object.c_str(), attribute, H5P_DEFAULT) >= 0); });
  }

  void remove(const std::string& object) const {
    edit([&](hid_t file) { REQUIRE(H5Ldelete(file, object.c_str(), H5P_DEFAULT) >= 0); });
  }

  void replace_integers(const std::string& name, std::vector<hsize_t> dims,
                        const std::vector<std::int64_t>& values) const {
    remove(name);
    edit([&](hid_t file) { write_integers(file, name, H5T_STD_I64LE, dims, values); });
  }

  void replace_strings(const std::string& name, const std::vector<std::string>& values) const {
    remove(name);
    edit([&](hid_t file) { write_strings(file, name, values); });
  }

  /// Puts a tensor of zeros in place of another; never written when `written` is false.
  void replace_tensor(const std::string& name, const std::vector<hsize_t>& dims, hid_t type,
                      const PropertyList& creation, bool written = true) const {
    remove(name);
    edit([&](hid_t file) {
      const hdf5::Dataset dataset = create_dataset(file, name, type, new_space(dims), creation);
      if (!written) return;
      std::size_t n = 1;
      for (const hsize_t dim : dims) n *= dim;
      const std::vector<char> zeros(n * H5Tget_size(type));
      REQUIRE(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()) >= 0);
    });
  }

  /// What is said about the file, without its name; "" when it opens and all its layers read.
  std::string complaint() const {
    int code = -1;
    const std::string message = message_of(
        [&] {
          const TraceReader reader(path);
          for (std::size_t s = 0; s < reader.info().samples.size(); ++s)
            for (std::size_t l = 0; l < reader.info().layers.size(); ++l) {
              reader.read_layer(s, l);
              for (const ProbeInfo& probe : reader.info().samples[s].probes)
                reader.read_probes(s, l, probe.compression_point);
              for (const SensitivityInfo& each : reader.info().samples[s].sensitivities)
                reader.read_sensitivity(s, l, each.compression_point);
            }
        },
        &code);
    if (message.empty()) return "";
    CHECK(code == kBadInput);
    CHECK(message.find('\n') == std::string::npos);
    const std::string prefix = path.string() + ": ";
    REQUIRE(message.substr(0, prefix.size()) == prefix);
    return message.substr(prefix.size());
  }

  TemporaryFolder folder;
  std::filesystem::path path;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the unspoilt trace is good") { CHECK(Patient().complaint() == ""); }

TEST_CASE("files that are no trace are refused by one line") {
  const Patient patient;
  SUBCASE("missing") {
    std::filesystem::remove(patient.path);
    CHECK(patient.complaint() == "cannot open: No such file or directory");
  }
  SUBCASE("a folder") {
    std::filesystem::remove(patient.path);
    std::filesystem::create_directory(patient.path);
    CHECK(patient.complaint() == "cannot open: not a regular file");
  }
  SUBCASE("empty") {
    write_bytes(patient.path, {});
    CHECK(patient.complaint() == "expected an HDF5 file, found something else");
  }
  SUBCASE("not HDF5") {
    write_bytes(patient.path, std::vector<char>(100'000, 'k'));
    CHECK(patient.complaint() == "expected an HDF5 file, found something else");
  }
  SUBCASE("HDF5 of another kind") {
    patient.remove_attribute("/", "format");
    CHECK(patient.complaint() == "expected a kvreplay trace, found HDF5 without attribute format");
  }
  SUBCASE("another format") {
    patient.set("/", "format", std::string("kvreplay-results\n"));
    CHECK(patient.complaint() == R"(attribute format of /: expected "kvreplay-trace", found "kvreplay-results\n")");
  }
}

TEST_CASE("a trace cut anywhere is refused") {
  const Patient patient;
  const std::vector<char> whole = bytes_of(patient.path);
  for (const double fraction : {0.0001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999}) {
    CAPTURE(fraction);
    const auto n = static_cast<std::ptrdiff_t>(fraction * static_cast<double>(whole.size()));
    write_bytes(patient.path, {whole.begin(), whole.begin() + n});
    CHECK(patient.complaint() != "");
  }
  write_bytes(patient.path, {whole.begin(), whole.end() - 1});
  CHECK(contains(patient.complaint(), "truncated file"));
}

TEST_CASE("another major version is refused, another minor version is read") {
  const Patient patient;
  patient.set("/", "format_version", std::string("1.7"));
  CHECK(patient.complaint() == "");
  patient.set("/", "format_version", std::string("2.0"));
  CHECK(patient.complaint() == "attribute format_version of /: expected version 1.x, found 2.0");
  for (const char* version : {"1", "1.", "1.x", "v1.0", "", "1.0.0"}) {
    patient.set("/", "format_version", std::string(version));
    CHECK(patient.complaint() ==
          fmt::format("attribute format_version of /: expected MAJOR.MINOR, found \"{}\"", version));
  }
}

TEST_CASE("objects that a newer minor version may add are passed over") {
  const Patient patient;
  patient.set("/samples/0000", "novelty", 1.5);
  patient.edit([](hid_t file) {
    create_group(file, "/samples/summary");
    create_group(file, "/samples/0001/probes");
    create_group(file, "/samples/0000/probes/prompt/summary");
    create_group(file, "/model/layers/04");
  });
  CHECK(patient.complaint() == "");
}

TEST_CASE("a missing or mistyped attribute is named") {
  const Patient patient;
  SUBCASE("missing") {
    for (const char* name : {"creator", "created", "model_id", "model_config", "n_layers", "layers", "n_q_heads",
                             "n_kv_heads", "head_dim", "value_dim", "hidden_size", "softmax_scale", "logit_softcap",
                             "rope_layout", "rope_attention_scaling", "format_version"}) {
      const Patient another;
      another.remove_attribute("/", name);
      CHECK(another.complaint() == fmt::format("attribute {} of /: expected, found nothing", name));
    }
  }
  SUBCASE("missing in a sample") {
    patient.remove_attribute("/samples/0001", "decode_start");
    CHECK(patient.complaint() == "attribute decode_start of /samples/0001: expected, found nothing");
  }
  SUBCASE("missing in a layer") {
    patient.remove_attribute("/model/layers/03", "sliding_window");
    CHECK(patient.complaint() == "attribute sliding_window of /model/layers/03: expected, found nothing");
  }
  SUBCASE("a string for a number") {
    patient.set("/", "n_layers", std::string("5"));
    CHECK(patient.complaint() == "attribute n_layers of /: expected integer, found string");
  }
  SUBCASE("a real number for an integer") {
    patient.set("/", "n_q_heads", 4.0);
    CHECK(patient.complaint() == "attribute n_q_heads of /: expected integer, found real number");
  }
  SUBCASE("a number for a string") {
    patient.set("/", "model_id", std::int64_t{4});
    CHECK(patient.complaint() == "attribute model_id of /: expected string, found integer");
  }
  SUBCASE("an integer for a real number is taken as one") {
    patient.set("/", "logit_softcap", std::int64_t{0});
    CHECK(patient.complaint() == "");
  }
  SUBCASE("a list for one value") {
    patient.set("/", "head_dim", std::vector<std::int64_t>{6, 6});
    CHECK(patient.complaint() == "attribute head_dim of /: expected one value, found 2");
  }
  SUBCASE("a list of one is one value") {
    patient.set("/", "head_dim", std::vector<std::int64_t>{6});
    CHECK(patient.complaint() == "");
  }
  SUBCASE("an unsigned number that no int64 holds") {
    patient.edit([](hid_t file) {
      H5Adelete(file, "head_dim");
      const std::uint64_t value = 1ull << 63;
      const Handle attribute(H5Acreate2(file, "head_dim", H5T_STD_U64BE, new_space({}), H5P_DEFAULT, H5P_DEFAULT));
      REQUIRE(H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0);
    });
    CHECK(patient.complaint() ==
          "attribute head_dim of /: expected integers up to 9223372036854775807, found 9223372036854775808");
  }
}

TEST_CASE("integers of any stored type that holds the value are read") {
  const Patient patient;
  for (const hid_t type : {H5T_STD_I8LE, H5T_STD_U8BE, H5T_STD_U16LE, H5T_STD_I32BE, H5T_STD_U64LE}) {
    patient.edit([&](hid_t file) {
      H5Adelete(file, "head_dim");
      const std::int64_t value = 6;
      const Handle attribute(H5Acreate2(file, "head_dim", type, new_space({}), H5P_DEFAULT, H5P_DEFAULT));
      REQUIRE(H5Awrite(attribute, H5T_NATIVE_INT64, &value) >= 0);
    });
    CHECK(patient.complaint() == "");
  }
}

TEST_CASE("model attributes out of range are named with the range") {
  const Patient patient;
  const auto says = [&](const char* name, auto value, const std::string& expected) {
    const Patient another;
    another.set("/", name, value);
    CHECK(another.complaint() == expected);
  };
  const std::int64_t zero = 0;
  says("n_layers", zero, "attribute n_layers of /: expected 1 to 1048576, found 0");
  says("n_kv_heads", std::int64_t{-1}, "attribute n_kv_heads of /: expected 1 to 1048576, found -1");
  says("n_kv_heads", std::int64_t{3}, "attribute n_kv_heads of /: expected a divisor of n_q_heads = 4, found 3");
  says("head_dim", std::int64_t{1025}, "attribute head_dim of /: expected 1 to 1024, found 1025");
  says("value_dim", zero, "attribute value_dim of /: expected 1 to 1024, found 0");
  says("hidden_size", zero, "attribute hidden_size of /: expected 1 to 1048576, found 0");
  says("softmax_scale", 0.0, "attribute softmax_scale of /: expected a positive number, found 0");
  says("softmax_scale", double{NAN}, "attribute softmax_scale of /: expected a positive number, found nan");
  says("softmax_scale", double{INFINITY}, "attribute softmax_scale of /: expected a positive number, found inf");
  says("logit_softcap", -1.0, "attribute logit_softcap of /: expected a finite number from 0, found -1");
  says("rope_attention_scaling", 0.0, "attribute rope_attention_scaling of /: expected a positive number, found 0");
  says("rope_layout", std::string("neox"),
       R"(attribute rope_layout of /: expected one of none, half, interleaved, found "neox")");
  says("layers", std::vector<std::int64_t>{3, 1}, "attribute layers of /: expected ascending indices, found 1 after 3");
  says("layers", std::vector<std::int64_t>{1, 1}, "attribute layers of /: expected ascending indices, found 1 after 1");
  says("layers", std::vector<std::int64_t>{1, 5}, "attribute layers of /: expected indices in 0 to 4, found 5");
  says("layers", std::vector<std::int64_t>{-1, 1}, "attribute layers of /: expected indices in 0 to 4, found -1");
  says("layers", std::vector<std::int64_t>{}, "attribute layers of /: expected at least one layer, found none");
  says("layers", std::vector<std::int64_t>{1, 2, 3}, "/model/layers/02: expected a group, found nothing");
}

TEST_CASE("RoPE frequencies that cannot be are refused") {
  const Patient patient;
  const auto set_frequencies = [&](const std::string& name, const std::vector<double>& values) {
    patient.remove(name);
    patient.edit([&](hid_t file) { write_reals(file, name, values); });
  };
  SUBCASE("none") {
    patient.remove("/rope_inv_freq");
    CHECK(patient.complaint() == "/rope_inv_freq: expected a dataset, found nothing");
  }
  SUBCASE("too many") {
    set_frequencies("/rope_inv_freq", {1, 1, 1, 1});
    CHECK(patient.complaint() == "/rope_inv_freq: expected at most head_dim / 2 = 3 frequencies, found 4");
  }
  SUBCASE("not finite, in a layer") {
    set_frequencies("/model/layers/01/rope_inv_freq", {1, NAN});
    CHECK(patient.complaint() == "/model/layers/01/rope_inv_freq[1]: expected a finite number from 0, found nan");
  }
  SUBCASE("a model without RoPE needs none") {
    patient.set("/", "rope_layout", std::string("none"));
    patient.remove("/rope_inv_freq");
    CHECK(patient.complaint() == "");
  }
}

TEST_CASE("gaps in the numbering of samples are refused") {
  const Patient patient;
  SUBCASE("a gap") {
    patient.edit([](hid_t file) { H5Lmove(file, "/samples/0001", file, "/samples/0002", H5P_DEFAULT, H5P_DEFAULT); });
    CHECK(patient.complaint() == R"(/samples: expected numbers without gaps, 0001 next, found "0002")");
  }
  SUBCASE("other padding") {
    patient.edit([](hid_t file) { H5Lmove(file, "/samples/0001", file, "/samples/1", H5P_DEFAULT, H5P_DEFAULT); });
    CHECK(patient.complaint() == R"(/samples: expected numbers without gaps, 0000 next, found "1")");
  }
  SUBCASE("no samples") {
    patient.remove("/samples/0000");
    patient.remove("/samples/0001");
    CHECK(patient.complaint() == "/samples: expected at least one sample, found none");
  }
  SUBCASE("no group of samples") {
    patient.remove("/samples");
    CHECK(patient.complaint() == "/samples: expected a group, found nothing");
  }
  SUBCASE("two of one name") {
    patient.set("/samples/0001", "name", std::string("prompt of 40"));
    CHECK(patient.complaint() ==
          R"(attribute name of /samples/0001: expected a name of its own, found "prompt of 40" again)");
  }
}

TEST_CASE("sample attributes out of range are named with the range") {
  const Patient patient;
  SUBCASE("decode_start") {
    patient.set("/samples/0000", "decode_start", std::int64_t{41});
    CHECK(patient.complaint() == "attribute decode_start of /samples/0000: expected 1 to 40, found 41");
  }
  SUBCASE("token_source") {
    patient.set("/samples/0000", "token_source", std::string("beam"));
    CHECK(patient.complaint() ==
          R"(attribute token_source of /samples/0000: expected one of greedy, sampled, text, synthetic, found "beam")");
  }
  SUBCASE("n_tokens 0") {
    patient.set("/samples/0000", "n_tokens", std::int64_t{0});
    CHECK(patient.complaint() == "attribute n_tokens of /samples/0000: expected 1 to 134217728, found 0");
  }
  SUBCASE("n_tokens other than the arrays") {
    patient.set("/samples/0000", "n_tokens", std::int64_t{39});
    CHECK(patient.complaint() == "/samples/0000/token_ids: expected shape [39], found [40]");
  }
}

TEST_CASE("token ids and texts must be there for each token") {
  const Patient patient;
  SUBCASE("ids") {
    patient.remove("/samples/0001/token_ids");
    CHECK(patient.complaint() == "/samples/0001/token_ids: expected a dataset, found nothing");
  }
  SUBCASE("ids of 64 bits") {
    patient.replace_integers("/samples/0001/token_ids", {25}, std::vector<std::int64_t>(25, 1ll << 40));
    CHECK(patient.complaint() == "/samples/0001/token_ids: expected 32-bit integers, found 1099511627776");
  }
  SUBCASE("ids that are texts") {
    patient.replace_strings("/samples/0001/token_ids", std::vector<std::string>(25, "a"));
    CHECK(patient.complaint() == "/samples/0001/token_ids: expected integer, found string");
  }
  SUBCASE("too few texts") {
    patient.replace_strings("/samples/0001/token_texts", std::vector<std::string>(24, "a"));
    CHECK(patient.complaint() == "/samples/0001/token_texts: expected shape [25], found [24]");
  }
}

TEST_CASE("spans must be ordered ranges of tokens") {
  const Patient patient;
  const auto replace = [&](const std::vector<std::int64_t>& begin, const std::vector<std::int64_t>& end) {
    patient.replace_integers("/samples/0000/spans/begin", {begin.size()}, begin);
    patient.replace_integers("/samples/0000/spans/end", {end.size()}, end);
  };
  SUBCASE("outside") {
    replace({0, 3, 6, 10}, {10, 5, 8, 41});
    CHECK(patient.complaint() == R"(/samples/0000/spans, entry 3 "question": expected a range that is not empty, )"
                                 R"(in [0, n_tokens = 40), found [10, 41))");
  }
  SUBCASE("empty") {
    replace({0, 3, 6, 10}, {0, 5, 8, 35});
    CHECK(contains(patient.complaint(), R"(entry 0 "context": expected a range that is not empty)"));
  }
  SUBCASE("negative") {
    replace({-1, 3, 6, 10}, {10, 5, 8, 35});
    CHECK(patient.complaint() == "/samples/0000/spans/begin: expected a number from 0, found -1");
  }
  SUBCASE("not ordered by begin") {
    replace({0, 6, 3, 10}, {10, 8, 5, 35});
    CHECK(patient.complaint() ==
          R"(/samples/0000/spans, entry 2 "needle": expected order by begin, then end, found [3, 5) after [6, 8))");
  }
  SUBCASE("not ordered by end") {
    replace({0, 3, 3, 10}, {10, 8, 5, 35});
    CHECK(contains(patient.complaint(), "expected order by begin, then end, found [3, 5) after [3, 8)"));
  }
  SUBCASE("lists of different length") {
    patient.replace_integers("/samples/0000/spans/end", {3}, {10, 5, 8});
    CHECK(patient.complaint() == "/samples/0000/spans/end: expected shape [4], found [3]");
  }
}

TEST_CASE("compression points must be ascending positions inside the sample, with names of their own") {
  const Patient patient;
  const std::string group = "/samples/0000/compression_points";
  const auto set_positions = [&](const std::vector<std::int64_t>& positions) {
    patient.replace_integers(group + "/position", {2}, positions);
  };
  SUBCASE("at 0") {
    set_positions({0, 35});
    CHECK(patient.complaint() == group + R"(, "context": expected a position in 1 to 39, found 0)");
  }
  SUBCASE("at the end") {
    set_positions({10, 40});
    CHECK(patient.complaint() == group + R"(, "prompt": expected a position in 1 to 39, found 40)");
  }
  SUBCASE("descending") {
    set_positions({35, 10});
    CHECK(patient.complaint() == group + R"(, "prompt": expected ascending positions, found 10 after 35)");
  }
  SUBCASE("a name twice") {
    patient.replace_strings(group + "/name", {"prompt", "prompt"});
    CHECK(patient.complaint() == group + R"(: expected names that differ, found "prompt" twice)");
  }
  SUBCASE("names that a group cannot have") {
    for (const std::string name : {"", ".", "..", "a/b"}) {
      patient.replace_strings(group + "/name", {"context", name});
      CHECK(
          patient.complaint() ==
          fmt::format("{}: expected a name that is not empty, '.' or '..', and without '/', found {:?}", group, name));
    }
  }
  SUBCASE("no group") {
    patient.remove(group);
    CHECK(patient.complaint() == group + ": expected a group, found nothing");
  }
}

TEST_CASE("names are UTF-8 without control characters") {
  const Patient patient;
  const std::string expected = ": expected a name in UTF-8 without control characters, found ";
  for (const std::string name : {"a\x1b[31m", "a\nb", "a\u202eb"}) {
    patient.set("/", "model_id", name);
    CHECK(patient.complaint() == fmt::format("attribute model_id of /{}{:?}", expected, name));
    patient.set("/", "model_id", std::string("model"));
    patient.set("/samples/0000", "name", name);
    CHECK(patient.complaint() == fmt::format("attribute name of /samples/0000{}{:?}", expected, name));
    patient.set("/samples/0000", "name", std::string("fine"));
    patient.replace_strings("/samples/0000/compression_points/name", {"context", name});
    CHECK(patient.complaint() == fmt::format("/samples/0000/compression_points{}{:?}", expected, name));
    patient.replace_strings("/samples/0000/compression_points/name", {"context", "prompt"});
    patient.replace_strings("/samples/0000/spans/name", {name, "a", "b", "c"});
    CHECK(patient.complaint() == fmt::format("/samples/0000/spans, entry 0{}{:?}", expected, name));
    patient.replace_strings("/samples/0000/spans/name", {"名前", "a, b", "\"c\"", "d"});
    CHECK(patient.complaint().empty());
  }
  patient.set("/", "model_id", std::string("\xff"));
  CHECK(patient.complaint() == "attribute model_id of /: expected UTF-8, found \"\\xff\"");
  patient.set("/", "model_id", std::string("model"));
  patient.replace_strings("/samples/0000/spans/name", {"a", "b", "\xff", "d"});
  CHECK(patient.complaint() == "/samples/0000/spans/name: expected UTF-8, found \"\\xff\"");
}

TEST_CASE("query ranges must be ascending, apart, inside the sample and as many as the queries") {
  const Patient patient;
  patient.remove("/samples/0000/sensitivity");  // has a say in them too
  const std::string name = "/samples/0000/query_ranges";
  const auto says = [&](const std::vector<std::int64_t>& bounds, const std::string& expected) {
    patient.replace_integers(name, {bounds.size() / 2, 2}, bounds);
    CHECK(patient.complaint() == expected);
  };
  says({10, 40, 2, 4}, name + "[1]: expected a range that is not empty, in [40, n_tokens = 40), found [2, 4)");
  says({2, 12, 10, 40}, name + "[1]: expected a range that is not empty, in [12, n_tokens = 40), found [10, 40)");
  says({2, 2, 10, 40}, name + "[0]: expected a range that is not empty, in [0, n_tokens = 40), found [2, 2)");
  says({2, 41}, name + "[0]: expected a range that is not empty, in [0, n_tokens = 40), found [2, 41)");
  says({-2, 4}, name + ": expected a number from 0, found -2");
  says({2, 4}, "/samples/0000/layers/01/queries: expected shape [4, 2, 6], found [4, 32, 6]");
  patient.replace_integers(name, {4}, {2, 4, 10, 40});
  CHECK(patient.complaint() == name + ": expected shape [any, 2], found [4]");
}

TEST_CASE("forward calls must begin at 0 and ascend inside the sample") {
  const Patient patient;
  const std::string name = "/samples/0000/forward_begins";
  const auto says = [&](const std::vector<std::int64_t>& begins, const std::string& expected) {
    patient.replace_integers(name, {begins.size()}, begins);
    CHECK(patient.complaint() == expected);
  };
  says({1, 35}, name + "[0]: expected 0, found 1");
  says({0, 35, 35}, name + "[2]: expected ascending positions, found 35 after 35");
  says({0, 36, 35}, name + "[2]: expected ascending positions, found 35 after 36");
  says({0, 40}, name + "[1]: expected a position below n_tokens = 40, found 40");
  says({0, -3}, name + ": expected a number from 0, found -3");
  patient.replace_integers(name, {1, 2}, {0, 35});
  CHECK(patient.complaint() == name + ": expected shape [any], found [1, 2]");
  patient.remove(name);  // optional
  CHECK(patient.complaint().empty());
}

TEST_CASE("chunks of a probe must be ascending parts of the context, with rows that follow each other") {
  const Patient patient;
  const std::string name = "/samples/0000/probes/prompt/chunks";
  const auto says = [&](const std::vector<std::int64_t>& bounds, const std::string& expected) {
    patient.replace_integers(name, {bounds.size() / 4, 4}, bounds);
    CHECK(patient.complaint() == expected);
  };
  const std::string context = ": expected a context that is not empty, in ";
  says({2, 20, 0, 21, 19, 35, 21, 39}, name + "[1]" + context + "[20, position = 35), found [19, 35)");
  says({20, 35, 0, 21, 2, 20, 21, 39}, name + "[1]" + context + "[35, position = 35), found [2, 20)");
  says({2, 20, 0, 21, 20, 36, 21, 39}, name + "[1]" + context + "[20, position = 35), found [20, 36)");
  says({2, 2, 0, 21, 20, 35, 21, 39}, name + "[0]" + context + "[0, position = 35), found [2, 2)");
  const std::string rows = ": expected rows that are not empty, from ";
  says({2, 20, 1, 21, 20, 35, 21, 39}, name + "[0]" + rows + "0 on, found [1, 21)");
  says({2, 20, 0, 21, 20, 35, 20, 39}, name + "[1]" + rows + "21 on, found [20, 39)");
  says({2, 20, 0, 21, 20, 35, 22, 39}, name + "[1]" + rows + "21 on, found [22, 39)");
  says({2, 20, 0, 21, 20, 35, 21, 21}, name + "[1]" + rows + "21 on, found [21, 21)");
  says({-1, 20, 0, 21}, name + ": expected a number from 0, found -1");
  says({}, name + ": expected at least one chunk, found none");
  const std::string queries = "/samples/0000/probes/prompt/layers/01/queries";
  says({2, 20, 0, 40}, queries + ": expected shape [4, 40, 6], found [4, 39, 6]");
  says({2, 20, 0, std::int64_t{1} << 60}, queries + ": expected shape [4, 1152921504606846976, 6], found [4, 39, 6]");
  says({2, 35, 0, 39}, "");
  patient.replace_integers(name, {2, 2}, {2, 20, 0, 39});
  CHECK(patient.complaint() == name + ": expected shape [any, 4], found [2, 2]");
  patient.remove(name);
  CHECK(patient.complaint() == name + ": expected a dataset, found nothing");
}

TEST_CASE("a probe belongs to a compression point") {
  const Patient patient;
  patient.edit([](hid_t file) {
    H5Lmove(file, "/samples/0000/probes/prompt", file, "/samples/0000/probes/answer", H5P_DEFAULT, H5P_DEFAULT);
  });
  CHECK(patient.complaint() == R"(/samples/0000/probes: expected names of compression points, found "answer")");
}

namespace {

// A trace with sensitivities of one compression point to be spoilt.
struct SensitivityPatient : Patient {
  const std::string group = "/samples/0000/sensitivity/prompt";

  void reals(const std::string& name, const std::vector<double>& values) const {
    remove(name);
    edit([&](hid_t file) { write_reals(file, name, values); });
  }
  void integers(const std::string& name, const std::vector<std::int64_t>& values) const {
    replace_integers(name, {values.size()}, values);
  }
};

}  // namespace

TEST_CASE("sketches of sensitivities must fit each other") {
  const SensitivityPatient patient;
  const std::string& group = patient.group;
  SUBCASE("of another kind") {
    patient.set(group, "kind", std::string("hessian"));
    CHECK(patient.complaint() == "attribute kind of " + group + R"(: expected "gaussian-fisher", found "hessian")");
    patient.remove_attribute(group, "kind");
    CHECK(patient.complaint() == "attribute kind of " + group + ": expected, found nothing");
  }
  SUBCASE("of no compression point") {
    patient.edit([](hid_t file) {
      H5Lmove(file, "/samples/0000/sensitivity/prompt", file, "/samples/0000/sensitivity/answer", H5P_DEFAULT,
              H5P_DEFAULT);
    });
    CHECK(patient.complaint() == R"(/samples/0000/sensitivity: expected names of compression points, found "answer")");
  }
  SUBCASE("levels") {
    const std::string expected = group + "/level[1]: expected a probability from 0 to below 1, found ";
    for (const auto& [level, text] : {std::pair{-0.25, "-0.25"}, {1.0, "1"}, {double{NAN}, "nan"}}) {
      patient.reals(group + "/level", {0, level, 0.5});
      CHECK(patient.complaint() == expected + text);
    }
    patient.reals(group + "/level", {});
    CHECK(patient.complaint() == group + "/level: expected 1 to 4096 sketches, found 0");
    patient.reals(group + "/level", {0, 0.5});
    CHECK(patient.complaint() == group + "/seed: expected n_sketches = 2 elements, found 3");
    patient.reals(group + "/level", std::vector<double>(5000, 0.0));
    CHECK(patient.complaint() == group + "/level: expected 1 to 4096 sketches, found 5000");
  }
  SUBCASE("what the passes lost") {
    patient.reals(group + "/perturbed_kl", {0, NAN, 1});
    CHECK(patient.complaint() == group + "/perturbed_kl[1]: expected a finite number, found nan");
    patient.reals(group + "/perturbed_kl", {0});
    CHECK(patient.complaint() == group + "/perturbed_kl: expected n_sketches = 3 elements, found 1");
  }
  SUBCASE("seeds") {
    patient.integers(group + "/seed", {1, -2, 3});
    CHECK(patient.complaint() == group + "/seed: expected integers from 0, found -2");
    patient.integers(group + "/seed", {1, 2, 3});
    CHECK(patient.complaint() == "");
  }
}

TEST_CASE("sensitivities must fit the sample") {
  const SensitivityPatient patient;
  const std::string& group = patient.group;
  SUBCASE("kept prefix") {
    patient.set(group, "keep_first", std::int64_t{36});
    CHECK(patient.complaint() ==
          "attribute keep_first of " + group + ": expected 0 to the point's position 35, found 36");
  }
  SUBCASE("targets") {
    patient.integers(group + "/target_mask", {0, 0, 0, 0, 0});
    CHECK(patient.complaint() == group + "/target_mask: expected at least one 1, found none");
    patient.integers(group + "/target_mask", {0, 0, 2, 0, 0});
    CHECK(patient.complaint() == group + "/target_mask: expected 0 and 1, found 2");
    patient.integers(group + "/target_mask", {1, 1, 1, 1});
    CHECK(patient.complaint() ==
          group + "/target_mask: expected one element for each of the 5 recorded queries from position 35 on, found 4");
    patient.remove(group + "/target_mask");
    CHECK(patient.complaint() == group + "/target_mask: expected a dataset, found nothing");
  }
  SUBCASE("queries with gaps, or not to the end") {
    patient.replace_integers("/samples/0000/query_ranges", {3, 2}, {2, 5, 10, 37, 38, 40});
    CHECK(patient.complaint() ==
          group + ": expected recorded queries without gaps from the compression point to the end, found none at 37");
    patient.replace_integers("/samples/0000/query_ranges", {2, 2}, {2, 5, 10, 39});
    CHECK(patient.complaint() == group + ": expected recorded queries to the end, position 39, found the last at 38");
  }
  SUBCASE("gradients") {
    const PropertyList plain = dataset_creation();
    const std::string gradient = group + "/layers/03/gradient";
    patient.replace_tensor(gradient, {3, 5, 15}, H5T_STD_I8LE, plain);
    CHECK(patient.complaint() == gradient + ": expected shape [3, 5, 16], found [3, 5, 15]");
    patient.replace_tensor(gradient, {3, 5, 16}, H5T_STD_U8LE, plain);
    CHECK(patient.complaint() == gradient + ": expected int8, found another type");
    patient.replace_tensor(gradient, {3, 5, 16}, H5T_STD_I8LE, plain, false);
    CHECK(patient.complaint() == gradient + ": expected 240 bytes, found that none was ever written");
    patient.remove(group + "/layers/03");
    CHECK(patient.complaint() == group + "/layers/03: expected a group, found nothing");
  }
  SUBCASE("scales") {
    const std::string name = group + "/layers/01/scale";
    for (const float bad : {-1.0f, NAN, INFINITY}) {
      std::vector<float> scales(15, 1.0f);
      scales[7] = bad;
      patient.edit([&](hid_t file) {
        const hdf5::Dataset dataset = open_dataset(file, name);
        REQUIRE(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, scales.data()) >= 0);
      });
      CHECK(patient.complaint() ==
            fmt::format("{}: sketch 1, query 2: expected a finite number from 0, found {}", name, bad));
    }
    patient.remove(name);
    CHECK(patient.complaint() == name + ": expected a dataset, found nothing");
  }
}

TEST_CASE("a tensor of another shape, rank or type is refused") {
  const Patient patient;
  const std::string keys = "/samples/0000/layers/03/keys";
  const PropertyList plain = dataset_creation();
  SUBCASE("missing") {
    patient.remove(keys);
    CHECK(patient.complaint() == keys + ": expected a dataset, found nothing");
  }
  SUBCASE("a group") {
    patient.remove(keys);
    patient.edit([&](hid_t file) { create_group(file, keys); });
    CHECK(patient.complaint() == keys + ": expected a dataset, found another kind of object");
  }
  SUBCASE("shape") {
    patient.replace_tensor(keys, {2, 39, 6}, type_for(DType::float16), plain);
    CHECK(patient.complaint() == keys + ": expected shape [2, 40, 6], found [2, 39, 6]");
  }
  SUBCASE("rank") {
    patient.replace_tensor(keys, {80, 6}, type_for(DType::float16), plain);
    CHECK(patient.complaint() == keys + ": expected shape [2, 40, 6], found [80, 6]");
  }
  SUBCASE("no shape at all") {
    patient.remove(keys);
    patient.edit(
        [&](hid_t file) { create_dataset(file, keys, type_for(DType::float16), Space(H5Screate(H5S_NULL)), plain); });
    CHECK(patient.complaint() == keys + ": expected an array, found an empty (null) dataspace");
  }
  SUBCASE("another dtype than the rest") {
    patient.replace_tensor(keys, {2, 40, 6}, H5T_IEEE_F32LE, plain);
    CHECK(patient.complaint() == keys + ": expected float16 as in the tensors before, found float32");
  }
  SUBCASE("float64") {
    patient.replace_tensor(keys, {2, 40, 6}, H5T_IEEE_F64LE, plain);
    CHECK(patient.complaint() == keys +
                                     ": expected little-endian float16, bfloat16 or float32, found a float of 8 bytes "
                                     "with 11 exponent and 52 mantissa bits");
  }
  SUBCASE("big-endian float32") {
    patient.replace_tensor(keys, {2, 40, 6}, H5T_IEEE_F32BE, plain);
    CHECK(patient.complaint() ==
          keys + ": expected little-endian float16, bfloat16 or float32, found big-endian float32");
  }
  SUBCASE("big-endian bfloat16") {
    const Type type = type_for(DType::bfloat16);
    H5Tset_order(type, H5T_ORDER_BE);
    patient.replace_tensor(keys, {2, 40, 6}, type, plain);
    CHECK(patient.complaint() ==
          keys + ": expected little-endian float16, bfloat16 or float32, found big-endian bfloat16");
  }
  SUBCASE("integers") {
    patient.replace_tensor(keys, {2, 40, 6}, H5T_STD_U16LE, plain);
    CHECK(patient.complaint() ==
          keys + ": expected little-endian float16, bfloat16 or float32, found an integer of 2 bytes");
  }
}

TEST_CASE("weights, probes and block cosines of another shape, rank or type are refused") {
  const Patient patient;
  const PropertyList plain = dataset_creation();
  SUBCASE("output projection of another shape") {
    patient.replace_tensor("/model/layers/01/output_projection", {10, 16}, type_for(DType::float16), plain);
    CHECK(patient.complaint() == "/model/layers/01/output_projection: expected shape [16, 10], found [10, 16]");
  }
  SUBCASE("probe of another shape") {
    const std::string probe = "/samples/0000/probes/prompt/layers/01/queries";
    patient.replace_tensor(probe, {2, 39, 6}, type_for(DType::float16), plain);
    CHECK(patient.complaint() == probe + ": expected shape [4, 39, 6], found [2, 39, 6]");
  }
  SUBCASE("probe of another dtype") {
    const std::string probe = "/samples/0000/probes/prompt/layers/03/keys";
    patient.replace_tensor(probe, {2, 39, 6}, type_for(DType::bfloat16), plain);
    CHECK(patient.complaint() == probe + ": expected float16 as in the tensors before, found bfloat16");
  }
  SUBCASE("probe in one layer only") {
    patient.remove("/samples/0000/probes/prompt/layers/03");
    CHECK(patient.complaint() == "/samples/0000/probes/prompt/layers/03: expected a group, found nothing");
  }
  SUBCASE("probe without keys") {
    patient.remove("/samples/0000/probes/prompt/layers/03/keys");
    CHECK(patient.complaint() == "/samples/0000/probes/prompt/layers/03/keys: expected a dataset, found nothing");
  }
  SUBCASE("block_cosine in one layer only") {
    patient.remove("/samples/0000/layers/01/block_cosine");
    CHECK(patient.complaint() == "/samples/0000: expected block_cosine in all 2 layers or none, found 1");
  }
}

TEST_CASE("filters other than gzip, zstd, shuffle and fletcher32 are refused by name") {
  const Patient patient;
  const std::string keys = "/samples/0001/layers/01/keys";
  const PropertyList creation = dataset_creation();
  const std::array<hsize_t, 3> chunk = {1, 25, 6};
  H5Pset_chunk(creation, 3, chunk.data());
  SUBCASE("allowed") {
    H5Pset_shuffle(creation);
    H5Pset_deflate(creation, 9);
    H5Pset_fletcher32(creation);
    patient.replace_tensor(keys, {2, 25, 6}, type_for(DType::float16), creation);
    CHECK(patient.complaint() == "");
  }
  SUBCASE("szip, which this library could read") {
    REQUIRE(H5Pset_szip(creation, H5_SZIP_NN_OPTION_MASK, 4) >= 0);
    patient.replace_tensor(keys, {2, 25, 6}, type_for(DType::float16), creation);
    CHECK(patient.complaint() ==
          keys + R"(: expected no filter, gzip, zstd, shuffle or fletcher32, found "szip" (filter 4))");
  }
  SUBCASE("one of somebody's own") {
    const H5Z_class2_t fake = {
        H5Z_CLASS_T_VERS,
        333,
        1,
        1,
        "moonpack",
        nullptr,
        nullptr,
        [](unsigned, std::size_t, const unsigned*, std::size_t n, std::size_t*, void**) { return n; }};
    REQUIRE(H5Zregister(&fake) >= 0);
    H5Pset_filter(creation, 333, H5Z_FLAG_MANDATORY, 0, nullptr);
    patient.replace_tensor(keys, {2, 25, 6}, type_for(DType::float16), creation);
    CHECK(patient.complaint() ==
          keys + R"(: expected no filter, gzip, zstd, shuffle or fletcher32, found "moonpack" (filter 333))");
  }
}

TEST_CASE("data in other files is refused: the fingerprint would not see it") {
  const Patient patient;
  const std::string keys = "/samples/0000/layers/01/keys";
  SUBCASE("external raw data") {
    const PropertyList creation = dataset_creation();
    H5Pset_external(creation, (patient.folder / "raw").c_str(), 0, H5F_UNLIMITED);
    patient.replace_tensor(keys, {2, 40, 6}, type_for(DType::float16), creation);
    CHECK(patient.complaint() == keys + ": expected data in this file, found external storage");
  }
  SUBCASE("a link to another file") {
    write_trace(patient.folder / "other.h5", small_info());
    patient.remove(keys);
    patient.edit([&](hid_t file) {
      H5Lcreate_external((patient.folder / "other.h5").c_str(), keys.c_str(), file, keys.c_str(), H5P_DEFAULT,
                         H5P_DEFAULT);
    });
    CHECK(patient.complaint() == keys + ": expected a dataset in this file, found a link to another");
  }
  SUBCASE("a link to nothing") {
    patient.remove(keys);
    patient.edit([&](hid_t file) { H5Lcreate_soft("/nowhere", file, keys.c_str(), H5P_DEFAULT, H5P_DEFAULT); });
    CHECK(patient.complaint() == keys + ": expected a dataset, found nothing");
  }
  SUBCASE("a virtual dataset") {
    const PropertyList creation = dataset_creation();
    const std::array<hsize_t, 3> dims = {2, 40, 6};
    const Space space = new_space(dims);
    H5Pset_virtual(creation, space, "other.h5", keys.c_str(), space);
    patient.replace_tensor(keys, {2, 40, 6}, type_for(DType::float16), creation, false);
    CHECK(patient.complaint() == keys + ": expected data in this file, found virtual storage");
  }
}

TEST_CASE("what was never written is refused, not read as zeros") {
  const Patient patient;
  const std::string keys = "/samples/0000/layers/01/keys";
  const PropertyList creation = dataset_creation();
  SUBCASE("contiguous") {
    patient.replace_tensor(keys, {2, 40, 6}, type_for(DType::float16), creation, false);
    CHECK(patient.complaint() == keys + ": expected 960 bytes, found that none was ever written");
  }
  const std::array<hsize_t, 3> chunk = {1, 16, 6};
  H5Pset_chunk(creation, 3, chunk.data());
  const auto write_one_chunk = [&] {
    patient.replace_tensor(keys, {2, 40, 6}, type_for(DType::float16), creation, false);
    patient.edit([&](hid_t file) {
      const hdf5::Dataset dataset = open_dataset(file, keys);
      const std::vector<char> zeros(16 * 6 * 2);
      const std::array<hsize_t, 3> start = {1, 16, 0};
      const Space memory = new_space(chunk), space = space_of(dataset);
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, chunk.data(), nullptr);
      REQUIRE(H5Dwrite(dataset, type_for(DType::float16), memory, space, H5P_DEFAULT, zeros.data()) >= 0);
    });
  };
  SUBCASE("chunked") {
    write_one_chunk();
    CHECK(patient.complaint() == keys + ": expected 1152 bytes for shape [2, 40, 6], found 192 bytes");
  }
  SUBCASE("compressed") {
    H5Pset_deflate(creation, 1);
    write_one_chunk();
    CHECK(patient.complaint() == keys + ": expected 6 chunks, found 1 written");
  }
}

TEST_CASE("an absurd number of tokens is refused before anything is allocated for it") {
  const Patient patient;
  const std::string sample = "/samples/0000";
  const std::int64_t absurd = std::int64_t{1} << 26;
  patient.set(sample, "n_tokens", absurd);
  const PropertyList creation = dataset_creation();
  SUBCASE("more than any model reads") {
    patient.set(sample, "n_tokens", 2 * absurd + 1);
    CHECK(patient.complaint() == "attribute n_tokens of /samples/0000: expected 1 to 134217728, found 134217729");
  }
  SUBCASE("declared and not written") {
    patient.replace_tensor(sample + "/token_ids", {hsize_t(absurd)}, H5T_STD_I32LE, creation, false);
    CHECK(patient.complaint() == sample + "/token_ids: expected 268435456 bytes, found that none was ever written");
  }
  SUBCASE("one compressed chunk written") {
    const hsize_t chunk = 1 << 20;
    H5Pset_chunk(creation, 1, &chunk);
    H5Pset_deflate(creation, 9);
    patient.replace_tensor(sample + "/token_ids", {hsize_t(absurd)}, H5T_STD_I32LE, creation, false);
    patient.edit([&](hid_t file) {
      const hdf5::Dataset dataset = open_dataset(file, sample + "/token_ids");
      const std::vector<std::int32_t> zeros(chunk);
      const hsize_t start = 0;
      const Space memory = new_space({&chunk, 1}), space = space_of(dataset);
      H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, nullptr, &chunk, nullptr);
      REQUIRE(H5Dwrite(dataset, H5T_NATIVE_INT32, memory, space, H5P_DEFAULT, zeros.data()) >= 0);
    });
    CHECK(contains(patient.complaint(), "expected 268435456 bytes for shape [67108864], found "));
  }
  SUBCASE("more bytes than numbers count") {
    const std::string keys = "/samples/0000/layers/01/keys";
    patient.set(sample, "n_tokens", std::int64_t{40});
    patient.set("/", "n_kv_heads", std::int64_t{4});
    const hsize_t huge = hsize_t{1} << 62;
    patient.edit([&](hid_t file) {
      for (const char* name : {"begin", "end", "name"})
        H5Ldelete(file, (sample + "/spans/" + name).c_str(), H5P_DEFAULT);
      for (const char* name : {"begin", "end", "name"}) {
        PropertyList chunked = dataset_creation();
        const hsize_t one = 1;
        H5Pset_chunk(chunked, 1, &one);
        create_dataset(file, sample + "/spans/" + name, H5T_STD_I64LE, new_space({&huge, 1}), chunked);
      }
    });
    CHECK(contains(patient.complaint(), "expected a size below 2^64 bytes, found shape [4611686018427387904]"));
  }
}

TEST_CASE("a value that is not finite is named with its place") {
  const Patient patient;
  const auto spoil = [&](const std::string& name, std::array<hsize_t, 3> at, std::size_t rank, float value) {
    patient.edit([&](hid_t file) {
      const hdf5::Dataset dataset = open_dataset(file, name);
      std::array<std::byte, 2> bytes;
      from_float32({&value, 1}, DType::float16, bytes);
      const std::array<hsize_t, 3> one = {1, 1, 1};
      const Space memory = new_space(std::span(one).first(rank)), space = space_of(dataset);
      H5Sselect_hyperslab(space, H5S_SELECT_SET, at.data(), nullptr, one.data(), nullptr);
      REQUIRE(H5Dwrite(dataset, type_for(DType::float16), memory, space, H5P_DEFAULT, bytes.data()) >= 0);
    });
  };
  SUBCASE("keys") {
    spoil("/samples/0001/layers/03/keys", {1, 17, 5}, 3, NAN);
    CHECK(patient.complaint() ==
          "/samples/0001/layers/03/keys: head 1, token 17, channel 5: expected a finite value, found nan");
  }
  SUBCASE("values") {
    spoil("/samples/0000/layers/01/values", {0, 39, 3}, 3, -INFINITY);
    CHECK(patient.complaint() ==
          "/samples/0000/layers/01/values: head 0, token 39, channel 3: expected a finite value, found -inf");
  }
  SUBCASE("queries") {
    spoil("/samples/0000/layers/01/queries", {3, 2, 0}, 3, INFINITY);
    CHECK(patient.complaint() ==
          "/samples/0000/layers/01/queries: head 3, recorded query 2 (token 10), channel 0: "
          "expected a finite value, found inf");
  }
  SUBCASE("queries of a probe") {
    spoil("/samples/0000/probes/prompt/layers/03/queries", {3, 38, 5}, 3, NAN);
    CHECK(patient.complaint() ==
          "/samples/0000/probes/prompt/layers/03/queries: head 3, probe row 38, channel 5: "
          "expected a finite value, found nan");
  }
  SUBCASE("block_cosine") {
    patient.remove("/samples/0000/layers/03/block_cosine");
    std::vector<double> cosine(40, 0.5);
    cosine[39] = NAN;
    patient.edit([&](hid_t file) { write_reals(file, "/samples/0000/layers/03/block_cosine", cosine); });
    CHECK(patient.complaint() == "/samples/0000/layers/03/block_cosine: token 39: expected a finite value, found nan");
  }
  SUBCASE("output projection") {
    spoil("/model/layers/01/output_projection", {9, 7}, 2, INFINITY);
    CHECK(patient.complaint() ==
          "/model/layers/01/output_projection: head 2, value channel 1, output channel 7: "
          "expected a finite value, found inf");
  }
}

TEST_CASE("fixed-length and ASCII strings are read, padding taken away") {
  const Patient patient;
  for (const H5T_str_t padding : {H5T_STR_NULLTERM, H5T_STR_NULLPAD, H5T_STR_SPACEPAD}) {
    patient.edit([&](hid_t file) {
      const Type type = copy_type(H5T_C_S1);
      H5Tset_size(type, 20);
      H5Tset_strpad(type, padding);
      H5Adelete_by_name(file, "/samples/0000", "name", H5P_DEFAULT);
      const Handle sample(H5Oopen(file, "/samples/0000", H5P_DEFAULT));
      const Handle attribute(H5Acreate2(sample, "name", type, new_space({}), H5P_DEFAULT, H5P_DEFAULT));
      const std::string text =
          padding == H5T_STR_SPACEPAD ? "first one           " : std::string("first one\0\0\0\0\0\0\0\0\0\0\0", 20);
      REQUIRE(H5Awrite(attribute, type, text.data()) >= 0);
    });
    CHECK(TraceReader(patient.path).info().samples[0].name == "first one");
  }
}

TEST_CASE("chunks of any shape are read, compressed or not") {
  const Patient patient;
  const std::string keys = "/samples/0000/layers/01/keys";
  const Tensor expected = TraceReader(patient.path).read_layer(0, 0).keys;
  std::vector<std::byte> bytes(expected.values().size() * 2);
  from_float32(expected.values(), DType::float16, bytes);
  for (const std::array<hsize_t, 3> chunk : {std::array<hsize_t, 3>{1, 7, 6}, {2, 40, 6}, {2, 3, 5}, {1, 1, 1}})
    for (const bool gzip : {false, true}) {
      const PropertyList creation = dataset_creation();
      H5Pset_chunk(creation, 3, chunk.data());
      if (gzip) compress(creation, 1);
      patient.remove(keys);
      patient.edit([&](hid_t file) {
        const std::array<hsize_t, 3> dims = {2, 40, 6};
        const hdf5::Dataset dataset = create_dataset(file, keys, type_for(DType::float16), new_space(dims), creation);
        REQUIRE(H5Dwrite(dataset, type_for(DType::float16), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) >= 0);
      });
      const Tensor found = TraceReader(patient.path).read_layer(0, 0).keys;
      CHECK(std::equal(found.values().begin(), found.values().end(), expected.values().begin()));
    }
}
