// What a reader that a file has taken over may say: any bytes. They make an index that fits itself, or none; and all
// that is read by an index is checked against the file.

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/base/error.h"
#include "traces/input/stored_values.h"
#include "traces/input/violation.h"

namespace {

using namespace kvreplay;
using namespace kvreplay::hdf5;

constexpr int kDeepest = 8;
constexpr std::uint64_t kMostElements = 1 << 16;  // the file is small: what says more of itself is refused, or slow

/// Runs what may throw the errors of a bad file, and only those.
template <typename Act>
void expect_refusal_or_success(Act act) {
  try {
    act();
  } catch (const Violation&) {
  } catch (const Error&) {
  }
}

void read_attributes(const StoredObject& object) {
  for (const std::string& name : attribute_names(object)) {
    expect_refusal_or_success([&] { kind_of_attribute(object, name); });
    expect_refusal_or_success([&] { read_string_attribute(object, name); });
    expect_refusal_or_success([&] { read_real_attribute(object, name); });
    expect_refusal_or_success([&] { read_integers_attribute(object, name); });
    expect_refusal_or_success([&] { read_references_attribute(object, name); });
  }
}

void read_array(const StoredGroup& group, const std::string& name) {
  const StoredArray array = open_array(group, name);
  read_attributes(array);
  expect_refusal_or_success([&] { dtype_of(array); });
  if (array.size() > kMostElements) return;
  expect_refusal_or_success([&] { read_strings(array); });
  expect_refusal_or_success([&] { read_integers(array); });
  expect_refusal_or_success([&] { read_unsigned(array); });
  expect_refusal_or_success([&] { read_reals(array); });
}

void read_group(const StoredGroup& group, int depth, int& n_left) {
  read_attributes(group);
  for (const std::string& name : link_names(group)) {
    if (n_left-- <= 0) return;  // hard links lead to the same groups again and again
    expect_refusal_or_success([&] { read_array(group, name); });
    if (depth > 0) expect_refusal_or_success([&] { read_group(open_group(group, name), depth - 1, n_left); });
  }
}

/// A file of 4 KiB that no two bytes in a row of are alike.
const std::string& small_file() {
  static const std::string path = [] {
    char name[] = "/tmp/kvreplay-fuzz-XXXXXX";
    close(mkstemp(name));
    std::ofstream file(name, std::ios::binary);
    for (int i = 0; i < 4096; ++i) file.put(static_cast<char>(i * 7));
    return std::string(name);
  }();
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static StoredFile file(small_file());
  expect_refusal_or_success([&] {
    FileIndex index = parse_index({reinterpret_cast<const char*>(data), size});
    file.links_by_name.clear();
    file.set_index(std::move(index), size);
    int n_left = 1000;
    read_group(root_of(file), kDeepest, n_left);
  });
  return 0;
}
