#include "traces/results/array_list.h"

#include <fmt/format.h>

#include <set>

#include "core/base/error.h"
#include "traces/input/naming_file.h"
#include "traces/input/stored_values.h"

namespace kvreplay {
namespace {

std::string type_name(const hdf5::IndexedType& type) {
  const std::uint64_t bits = 8 * type.size;
  switch (type.type_class) {
    case hdf5::TypeClass::real:
      return fmt::format("float{}", bits);
    case hdf5::TypeClass::integer:
      return fmt::format("{}int{}", type.is_signed ? "" : "u", bits);
    case hdf5::TypeClass::string:
      return "string";
    default:
      return "another type";
  }
}

/// Walks over the groups of a file, each of which hard links may lead to more than once, and in circles.
class Listing {
 public:
  void list(const hdf5::StoredGroup& group, const std::string& before, int depth = 0) {
    if (depth > kDeepest)
      throw hdf5::Violation(fmt::format("/{}: expected at most {} groups in a row", before, kDeepest));
    if (!seen_.insert(group.object).second)
      throw hdf5::Violation(
          fmt::format("{}: expected a group of its own, found one that was there before", group.path));
    for (const hdf5::IndexedLink& link : group.object->links) {
      hdf5::require_printable(link.name, group.path);
      if (link.kind != hdf5::LinkKind::hard)
        throw hdf5::Violation(fmt::format("/{}{}: expected an object, found a link", before, link.name));
      if (group.file->index.objects[link.object].kind == hdf5::ObjectKind::group) {
        list(hdf5::open_group(group, link.name), before + link.name + "/", depth + 1);
        continue;
      }
      const hdf5::StoredArray array = hdf5::open_array(group, link.name);
      all.push_back({before + link.name, type_name(array.indexed().type), array.dims()});
    }
  }

  std::vector<ListedArray> all;

 private:
  static constexpr int kDeepest = 8;  // ours are at most six deep
  std::set<const hdf5::IndexedObject*> seen_;
};

}  // namespace

std::vector<ListedArray> list_arrays(const InputFile& file) {
  return naming_file<InputError>(file.path(), [&] {
    Listing listing;
    listing.list(hdf5::root_of(file.stored()), "");
    return std::move(listing.all);
  });
}

}  // namespace kvreplay
