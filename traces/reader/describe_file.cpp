#include "traces/reader/describe_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "traces/input/filters.h"
#include "traces/reader/read_values.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kMaxObjects = 1 << 22;  // objects, links and attributes
constexpr std::size_t kMaxNameBytes = 64 << 10;
constexpr std::uint64_t kObjectBytes = 200;  // beside names and values, about

IndexedShape shape_of(const Space& space) {
  IndexedShape shape;
  shape.is_null = H5Sget_simple_extent_type(space) == H5S_NULL;
  if (shape.is_null) return shape;
  std::vector<hsize_t> dims(static_cast<std::size_t>(
      check("read the shape of", -1, "an object", [&] { return H5Sget_simple_extent_ndims(space); })));
  check("read the shape of", -1, "an object", [&] { return H5Sget_simple_extent_dims(space, dims.data(), nullptr); });
  shape.dims.assign(dims.begin(), dims.end());
  return shape;
}

class FileDescriber {
 public:
  FileDescriber(const File& file, const MemberRange& members, std::uint64_t most_bytes)
      : file_(file), wanted_(members), bytes_left_(most_bytes) {}

  FileIndex describe() {
    number_of(address_of(file_));
    for (std::size_t i = 0; i < index_.objects.size(); ++i) {
      IndexedObject object = describe_object(index_.objects[i].address);
      index_.objects[i] = std::move(object);
    }
    return std::move(index_);
  }

 private:
  static haddr_t address_of(hid_t object) {
    H5O_info_t info;
    check("look up", object, "", [&] { return H5Oget_info2(object, &info, H5O_INFO_BASIC); });
    return info.addr;
  }

  /// Of the object at this address, which is described in its turn.
  std::uint64_t number_of(haddr_t address) {
    const auto [entry, is_new] = numbers_.try_emplace(address, index_.objects.size());
    if (is_new) {
      count_one();
      index_.objects.emplace_back().address = address;
    }
    return entry->second;
  }

  void count_one() {
    if (++n_objects_ > kMaxObjects)
      throw Violation(fmt::format("expected at most {} objects, links and attributes, found more", kMaxObjects));
  }

  void count_bytes(std::uint64_t n) {
    if (n > bytes_left_) throw Violation("expected less of names and texts in a file of its size");
    bytes_left_ -= n;
  }

  std::string checked_name(const char* name) {
    std::string copy(name, strnlen(name, kMaxNameBytes + 1));
    if (copy.size() > kMaxNameBytes)
      throw Violation(fmt::format("expected names of at most {} bytes, found a longer one", kMaxNameBytes));
    count_one();
    count_bytes(copy.size());
    return copy;
  }

  IndexedValues counted(IndexedValues values) {
    std::uint64_t n = values.numbers.size() + values.problem.size();
    for (const std::string& text : values.texts) n += text.size();
    for (const auto& addresses : values.references) n += addresses.size() * sizeof(std::uint64_t);
    count_bytes(n);
    return values;
  }

  IndexedObject describe_object(haddr_t address) {
    count_bytes(kObjectBytes);
    const Handle id(check("open", -1, "an object", [&] { return H5Oopen_by_addr(file_, address); }));
    IndexedObject object{.address = address, .kind = ObjectKind::other, .attributes = {}, .links = {}, .array = {}};
    object.attributes = describe_attributes(id);
    const H5I_type_t kind = H5Iget_type(id);
    if (kind == H5I_GROUP) {
      object.kind = ObjectKind::group;
      object.links = describe_links(id, address);
    } else if (kind == H5I_DATASET) {
      object.kind = ObjectKind::array;
      object.array = describe_array(id);
    }
    return object;
  }

  std::vector<IndexedAttribute> describe_attributes(hid_t object) {
    std::vector<std::string> names;
    const auto add = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
      auto& all = *static_cast<std::vector<std::string>*>(list);
      all.emplace_back(name, strnlen(name, kMaxNameBytes + 1));
      return all.size() > kMaxObjects ? -1 : 0;
    };
    check("list", -1, "attributes",
          [&] { return H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names); });
    std::vector<IndexedAttribute> attributes;
    for (const std::string& name : names) {
      const Handle id(check("open", -1, "an attribute", [&] { return H5Aopen(object, name.c_str(), H5P_DEFAULT); }));
      const Type type(check("read the type of", -1, "an attribute", [&] { return H5Aget_type(id); }));
      const Space space(check("read the shape of", -1, "an attribute", [&] { return H5Aget_space(id); }));
      IndexedAttribute& attribute = attributes.emplace_back();
      attribute.name = checked_name(name.c_str());
      attribute.type = describe_type(type);
      attribute.shape = shape_of(space);
      attribute.values =
          counted(read_values(type, space, [&](hid_t memory, void* out) { return H5Aread(id, memory, out); }));
    }
    return attributes;
  }

  std::vector<IndexedLink> describe_links(hid_t group, haddr_t address) {
    struct Found {
      std::vector<std::pair<std::string, H5L_info_t>> links;
    } found;
    const auto add = [](hid_t, const char* name, const H5L_info_t* info, void* list) -> herr_t {
      auto& all = static_cast<Found*>(list)->links;
      all.emplace_back(std::string(name, strnlen(name, kMaxNameBytes + 1)), *info);
      return all.size() > kMaxObjects ? -1 : 0;
    };
    const PropertyList creation(check("read", -1, "a group", [&] { return H5Gget_create_plist(group); }));
    unsigned order = 0;
    check("read", -1, "a group", [&] { return H5Pget_link_creation_order(creation, &order); });
    const H5_index_t by = order & H5P_CRT_ORDER_TRACKED ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME;
    check("list", -1, "a group", [&] { return H5Literate(group, by, H5_ITER_INC, nullptr, add, &found); });
    std::vector<IndexedLink> links;
    for (const auto& [name, info] : found.links) {
      IndexedLink& link = links.emplace_back();
      link.name = checked_name(name.c_str());
      link.kind = info.type == H5L_TYPE_HARD   ? LinkKind::hard
                  : info.type == H5L_TYPE_SOFT ? LinkKind::soft
                                               : LinkKind::elsewhere;
      const std::size_t place = links.size() - 1;
      const bool unwanted = address == members_ && (place < wanted_.first || place - wanted_.first >= wanted_.count);
      if (link.kind == LinkKind::hard && unwanted) link.kind = LinkKind::unfollowed;
      if (link.kind == LinkKind::hard) link.object = number_of(info.u.address);
      if (link.kind == LinkKind::hard && address == index_.objects[0].address && name == kMembersGroup)
        members_ = info.u.address;
      if (link.kind == LinkKind::soft) link.target = target_of(group, name, info.u.val_size);
    }
    return links;
  }

  std::string target_of(hid_t group, const std::string& name, std::size_t size) {
    if (size > kMaxNameBytes)
      throw Violation(fmt::format("expected names of at most {} bytes, found a longer one", kMaxNameBytes));
    std::vector<char> target(size + 1, '\0');
    check("read", -1, "a link", [&] { return H5Lget_val(group, name.c_str(), target.data(), size, H5P_DEFAULT); });
    return checked_name(target.data());
  }

  IndexedArray describe_array(hid_t id) {
    const Type type(check("read the type of", -1, "an array", [&] { return H5Dget_type(id); }));
    const Space space(check("read the shape of", -1, "an array", [&] { return H5Dget_space(id); }));
    const PropertyList creation(check("read the layout of", -1, "an array", [&] { return H5Dget_create_plist(id); }));
    IndexedArray array;
    array.type = describe_type(type);
    array.shape = shape_of(space);
    const H5D_layout_t layout = H5Pget_layout(creation);
    if (layout == H5D_VIRTUAL || H5Pget_external_count(creation) != 0) {
      array.storage = layout == H5D_VIRTUAL ? Storage::virtual_ : Storage::external;
      return array;
    }
    array.size = H5Dget_storage_size(id);
    array.filters = describe_filters(creation);
    if (layout == H5D_CHUNKED) describe_chunks(id, space, creation, array);
    const auto read = [&](hid_t memory, void* out) { return H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out); };
    if (array.type.type_class == TypeClass::string || needs_library(layout, creation, array)) {
      array.storage = Storage::in_index;
      array.chunks.clear();
      if (array.size == 0 && has_elements(array.shape))
        array.values.problem = "none was ever written";
      else
        array.values = counted(read_values(type, space, read));
    } else if (layout == H5D_CONTIGUOUS) {
      array.address = H5Dget_offset(id);
    }
    return array;
  }

  static bool has_elements(const IndexedShape& shape) {
    return !shape.is_null && std::find(shape.dims.begin(), shape.dims.end(), 0U) == shape.dims.end();
  }

  /// Whether only the library can say what the elements are.
  bool needs_library(H5D_layout_t layout, hid_t creation, const IndexedArray& array) const {
    if (layout == H5D_COMPACT) return true;
    if (layout != H5D_CHUNKED) return false;
    unsigned options = 0;
    hsize_t user_block = 0;
    const PropertyList file_creation(check("read", -1, "the file", [&] { return H5Fget_create_plist(file_); }));
    check("read", -1, "the file", [&] { return H5Pget_userblock(file_creation, &user_block); });
    check("read the layout of", -1, "an array", [&] { return H5Pget_chunk_opts(creation, &options); });
    // Addresses of chunks count from the end of the user block in HDF5 1.10 and, with a later correction, from the
    // beginning of the file.
    return user_block > 0 || (options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) != 0 ||
           (!array.filters.empty() && !order_of(array.filters).is_ours);
  }

  static std::vector<IndexedFilter> describe_filters(hid_t creation) {
    std::vector<IndexedFilter> filters;
    const int n = check("read the filters of", -1, "an array", [&] { return H5Pget_nfilters(creation); });
    for (int i = 0; i < n; ++i) {
      unsigned flags = 0, parameters[8] = {};
      std::size_t n_parameters = std::size(parameters);
      char name[64] = {};
      const H5Z_filter_t id = check("read the filters of", -1, "an array", [&] {
        return H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &n_parameters, parameters, sizeof name - 1,
                              name, nullptr);
      });
      filters.push_back({id, name, {parameters, parameters + std::min(n_parameters, std::size(parameters))}});
    }
    return filters;
  }

  static void describe_chunks(hid_t id, const Space& space, hid_t creation, IndexedArray& array) {
    array.storage = Storage::chunked;
    const std::size_t rank = array.shape.dims.size();
    std::vector<hsize_t> chunk(rank);
    check("read the layout of", -1, "an array",
          [&] { return H5Pget_chunk(creation, static_cast<int>(rank), chunk.data()); });
    array.chunk_dims.assign(chunk.begin(), chunk.end());
    hsize_t n_written = 0;
    check("count the chunks of", -1, "an array", [&] { return H5Dget_num_chunks(id, space, &n_written); });
    array.n_chunks = n_written;
    // The grid; the library has checked that it can be counted where that many chunks are written.
    std::vector<std::uint64_t> grid(rank);
    std::uint64_t n_chunks = 1;
    for (std::size_t d = 0; d < rank; ++d) {
      if (chunk[d] == 0) throw Violation("expected chunks with an extent, found 0");
      grid[d] = array.shape.dims[d] / chunk[d] + (array.shape.dims[d] % chunk[d] != 0);
      if (__builtin_mul_overflow(n_chunks, grid[d], &n_chunks)) return;
    }
    if (n_written > kMaxChunks || n_written != n_chunks) return;
    std::vector<IndexedChunk> chunks(n_chunks);
    for (hsize_t i = 0; i < n_chunks; ++i) {
      std::vector<hsize_t> start(rank);
      unsigned mask = 0;
      haddr_t address = HADDR_UNDEF;
      hsize_t size = 0;
      check("look up a chunk of", -1, "an array",
            [&] { return H5Dget_chunk_info(id, space, i, start.data(), &mask, &address, &size); });
      std::uint64_t place = 0;
      for (std::size_t d = 0; d < rank; ++d) place = place * grid[d] + start[d] / chunk[d];
      if (place >= n_chunks) throw Violation("expected chunks inside their array, found one outside");
      chunks[place] = {.address = address, .size = size, .mask = mask};
    }
    array.chunks = std::move(chunks);
  }

  const File& file_;
  FileIndex index_;
  std::map<haddr_t, std::uint64_t> numbers_;
  std::size_t n_objects_ = 0;
  MemberRange wanted_;
  std::uint64_t bytes_left_;
  haddr_t members_ = HADDR_UNDEF;  // where that group is
};

}  // namespace

FileIndex describe_file(const File& file, const MemberRange& members, std::uint64_t most_bytes) {
  return FileDescriber(file, members, most_bytes).describe();
}

}  // namespace kvreplay::hdf5
