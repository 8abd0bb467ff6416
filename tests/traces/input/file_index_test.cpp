#include "traces/input/file_index.h"

#include <doctest/doctest.h>

#include <cstring>

#include "traces/input/violation.h"

using namespace kvreplay::hdf5;

namespace {

IndexedType int64_type() {
  IndexedType type;
  type.type_class = TypeClass::integer;
  type.size = 8;
  type.is_signed = type.is_whole = true;
  return type;
}

IndexedType text_type() {
  IndexedType type;
  type.type_class = TypeClass::string;
  return type;
}

/// A root with one attribute, an array in two chunks, and a link that leads nowhere.
FileIndex small_index() {
  FileIndex index;
  IndexedObject& root = index.objects.emplace_back();
  root.address = 96;
  root.kind = ObjectKind::group;
  root.attributes.push_back({"format", text_type(), {}, {}});
  root.attributes[0].values.texts = {"kvreplay-trace"};
  root.links.push_back({"x", LinkKind::hard, 1, ""});
  root.links.push_back({"soft", LinkKind::soft, 0, "/nowhere"});
  IndexedObject& object = index.objects.emplace_back();
  object.address = 800;
  object.kind = ObjectKind::array;
  object.array.type = int64_type();
  object.array.shape.dims = {3, 4};
  object.array.storage = Storage::chunked;
  object.array.size = 100;
  object.array.chunk_dims = {2, 4};
  object.array.filters = {{1, "deflate", {4}}};
  object.array.n_chunks = 2;
  object.array.chunks = {{1000, 60, 0}, {1060, 40, 1}};
  return index;
}

bool is_refused(std::string_view bytes) {
  try {
    parse_index(bytes);
    return false;
  } catch (const Violation&) {
    return true;
  }
}

bool is_refused(const FileIndex& index) { return is_refused(index_bytes(index)); }

}  // namespace

TEST_CASE("an index comes back as it was written") {
  const FileIndex index = parse_index(index_bytes(small_index()));
  REQUIRE(index.objects.size() == 2);
  const IndexedObject& root = index.objects[0];
  CHECK(root.address == 96);
  REQUIRE(root.attributes.size() == 1);
  CHECK(root.attributes[0].name == "format");
  CHECK(root.attributes[0].values.texts == std::vector<std::string>{"kvreplay-trace"});
  REQUIRE(root.links.size() == 2);
  CHECK(root.links[0].name == "x");
  CHECK(root.links[0].object == 1);
  CHECK(root.links[1].kind == LinkKind::soft);
  CHECK(root.links[1].target == "/nowhere");
  const IndexedArray& array = index.objects[1].array;
  CHECK(array.type.is_signed);
  CHECK(array.shape.dims == std::vector<std::uint64_t>{3, 4});
  CHECK(array.filters[0].name == "deflate");
  CHECK(array.filters[0].parameters == std::vector<std::uint32_t>{4});
  REQUIRE(array.chunks.size() == 2);
  CHECK(array.chunks[1].address == 1060);
  CHECK(array.chunks[1].mask == 1);
  CHECK(index_bytes(index) == index_bytes(small_index()));
}

TEST_CASE("an index that is cut anywhere, or goes on after its end, is refused") {
  const std::string bytes = index_bytes(small_index());
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK(is_refused(std::string_view(bytes).substr(0, n)));
  CHECK(is_refused(bytes + '!'));
}

TEST_CASE("of an index with any byte changed there is an index that fits itself, or none") {
  const std::string good = index_bytes(small_index());
  std::size_t n_refused = 0;
  for (std::size_t at = 0; at < good.size(); ++at)
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(value);
      if (is_refused(bytes)) {
        ++n_refused;
        continue;
      }
      const FileIndex index = parse_index(bytes);
      for (const IndexedObject& object : index.objects)
        for (const IndexedLink& link : object.links)
          CHECK((link.kind != LinkKind::hard || link.object < index.objects.size()));
    }
  CHECK(n_refused > good.size());
}

TEST_CASE("parts that do not fit each other are refused") {
  const auto broken = [](auto change) {
    FileIndex index = small_index();
    change(index);
    return is_refused(index);
  };
  CHECK_FALSE(broken([](FileIndex&) {}));
  CHECK(broken([](FileIndex& index) { index.objects.clear(); }));
  CHECK(broken([](FileIndex& index) { index.objects[0].kind = ObjectKind::other; }));
  CHECK(broken([](FileIndex& index) { index.objects[0].links[0].object = 2; }));
  CHECK(broken([](FileIndex& index) { index.objects[0].attributes[0].values.texts = {}; }));
  CHECK(broken([](FileIndex& index) { index.objects[0].attributes[0].shape.dims = {2}; }));
  // 2^33 * 2^33 elements: a product that a uint64 does not hold, and that is 0 where it wraps.
  CHECK(broken([](FileIndex& index) { index.objects[0].attributes[0].shape.dims = {1ull << 33, 1ull << 33}; }));
  CHECK(broken([](FileIndex& index) { index.objects[1].array.type.size = 0; }));
  CHECK(broken([](FileIndex& index) { index.objects[1].array.chunk_dims = {2}; }));
  CHECK(broken([](FileIndex& index) { index.objects[1].array.chunk_dims = {2, 0}; }));
  CHECK(broken([](FileIndex& index) { index.objects[1].array.chunks.pop_back(); }));
  CHECK(broken([](FileIndex& index) { index.objects[1].array.storage = Storage::contiguous; }));
}

TEST_CASE("numbers of elements are compared with the bytes that are left before there is memory for them") {
  // The number of objects stands behind the two flags of the confinement.
  std::string bytes = index_bytes(small_index());
  for (const std::uint64_t n : {~0ull, 1ull << 40, 1000ull}) {
    std::memcpy(bytes.data() + 2, &n, sizeof n);
    CHECK(is_refused(bytes));
  }
  // Two million empty objects take 66 MB of bytes, and a gigabyte of memory.
  FileIndex index;
  index.objects.resize(2'000'000);
  index.objects[0].kind = ObjectKind::group;
  CHECK(is_refused(index));
}
