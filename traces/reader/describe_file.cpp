#include "traces/reader/describe_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "traces/reader/describe_array.h"
#include "traces/reader/read_values.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kMaxObjects = 1 << 22;  // objects, links and attributes
constexpr std::size_t kMaxNameBytes = 64 << 10;
constexpr std::uint64_t kObjectBytes = 200, kNameBytes = 150;  // of the index beside names and values, about

class FileDescriber {
 public:
  FileDescriber(const File& file, MappedFile& mapped, const MemberRange& members, std::uint64_t most_bytes)
      : file_(file), mapped_(mapped), wanted_(members), bytes_left_(most_bytes) {}

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
    count_bytes(copy.size() + kNameBytes);
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
      object.array = describe_array(mapped_, id);
      object.array.values = counted(std::move(object.array.values));
      count_bytes(object.array.chunks.size() * sizeof(IndexedChunk));
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

  using Links = std::vector<std::pair<std::string, H5L_info_t>>;

  static Links links_of(hid_t group) {
    Links links;
    const auto add = [](hid_t, const char* name, const H5L_info_t* info, void* list) -> herr_t {
      auto& all = *static_cast<Links*>(list);
      all.emplace_back(std::string(name, strnlen(name, kMaxNameBytes + 1)), *info);
      return all.size() > kMaxObjects ? -1 : 0;
    };
    check("list", -1, "a group", [&] { return H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &links); });
    const auto has_order = [](const auto& link) { return link.second.corder_valid != 0; };
    if (std::ranges::all_of(links, has_order))
      std::ranges::stable_sort(links, {}, [](const auto& link) { return link.second.corder; });
    return links;
  }

  std::vector<IndexedLink> describe_links(hid_t group, haddr_t address) {
    const bool is_root = address == index_.objects[0].address, is_members = address == members_;
    std::vector<IndexedLink> links;
    for (const auto& [name, info] : links_of(group)) {
      const std::uint64_t place = links.size();
      IndexedLink& link = links.emplace_back();
      link.name = checked_name(name.c_str());
      switch (info.type) {
        case H5L_TYPE_HARD:
          if (is_root && name == kMembersGroup) members_ = info.u.address;
          link.kind = is_members && !is_wanted(place) ? LinkKind::unfollowed : LinkKind::hard;
          if (link.kind == LinkKind::hard) link.object = number_of(info.u.address);
          break;
        case H5L_TYPE_SOFT:
          link.kind = LinkKind::soft;
          link.target = target_of(group, name, info.u.val_size);
          break;
        default:
          link.kind = LinkKind::elsewhere;
      }
    }
    return links;
  }

  bool is_wanted(std::uint64_t member) const {
    return member >= wanted_.first && member - wanted_.first < wanted_.count;
  }

  std::string target_of(hid_t group, const std::string& name, std::size_t size) {
    if (size > kMaxNameBytes)
      throw Violation(fmt::format("expected names of at most {} bytes, found a longer one", kMaxNameBytes));
    std::vector<char> target(size + 1, '\0');
    check("read", -1, "a link", [&] { return H5Lget_val(group, name.c_str(), target.data(), size, H5P_DEFAULT); });
    return checked_name(target.data());
  }

  const File& file_;
  MappedFile& mapped_;
  FileIndex index_;
  std::map<haddr_t, std::uint64_t> numbers_;
  std::size_t n_objects_ = 0;
  MemberRange wanted_;
  std::uint64_t bytes_left_;
  haddr_t members_ = HADDR_UNDEF;  // where that group is
};

}  // namespace

FileIndex describe_file(MappedFile& mapped, const MemberRange& members, std::uint64_t most_bytes) {
  const File file = open_mapped(mapped);
  return FileDescriber(file, mapped, members, most_bytes).describe();
}

}  // namespace kvreplay::hdf5
