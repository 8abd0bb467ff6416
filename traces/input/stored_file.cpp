#include "traces/input/stored_file.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

constexpr int kMaxSoftLinks = 16;  // on one way: they may lead in a circle

struct Found {
  const IndexedObject* object = nullptr;  // nullptr: nothing
  bool elsewhere = false;                 // a link to another file
};

const IndexedLink* find_link(const StoredFile& file, const IndexedObject& group, std::string_view name) {
  const std::vector<std::size_t>& order =
      file.links_by_name[static_cast<std::size_t>(&group - file.index.objects.data())];
  const auto name_of = [&](std::size_t i) -> const std::string& { return group.links[i].name; };
  const auto found = std::ranges::lower_bound(order, name, {}, name_of);
  return found == order.end() || name_of(*found) != name ? nullptr : &group.links[*found];
}

/// Goes step by step; `n_soft` is how many soft links may still be followed.
Found find(const StoredFile& file, const IndexedObject& from, std::string_view path, int& n_soft) {
  const IndexedObject* at = path.starts_with('/') ? &file.index.objects[0] : &from;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty() || name == ".") continue;
    const IndexedLink* const link = find_link(file, *at, name);
    if (link == nullptr) return {};
    if (link->kind == LinkKind::elsewhere) return {.object = nullptr, .elsewhere = true};
    if (link->kind == LinkKind::unfollowed) return {};
    if (link->kind == LinkKind::hard) {
      at = &file.index.objects[link->object];
      continue;
    }
    if (n_soft-- == 0) return {};
    const Found target = find(file, *at, link->target, n_soft);
    if (target.object == nullptr) return target;
    at = target.object;
  }
  return {.object = at};
}

Found find(const StoredGroup& group, std::string_view path) {
  int n_soft = kMaxSoftLinks;
  return find(*group.file, *group.object, path, n_soft);
}

StoredObject open(const StoredGroup& group, std::string_view name, ObjectKind kind, std::string_view expected) {
  const std::string path = path_of(group, name);
  const Found found = find(group, name);
  if (found.elsewhere)
    throw Violation(fmt::format("{}: expected a {} in this file, found a link to another", path, expected));
  if (found.object == nullptr) throw Violation(fmt::format("{}: expected a {}, found nothing", path, expected));
  if (found.object->kind != kind)
    throw Violation(fmt::format("{}: expected a {}, found another kind of object", path, expected));
  return {.file = group.file, .object = found.object, .path = path};
}

}  // namespace

void StoredFile::set_index(FileIndex described, std::uint64_t n_bytes) {
  index = std::move(described);
  index_bytes = n_bytes;
  for (const IndexedObject& object : index.objects) {
    std::vector<std::size_t>& order = links_by_name.emplace_back(object.links.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, {}, [&](std::size_t i) -> const std::string& { return object.links[i].name; });
  }
}

StoredGroup root_of(const StoredFile& file) {
  return {{.file = &file, .object = &file.index.objects.at(0), .path = "/"}};
}

bool has_link(const StoredGroup& group, std::string_view path) { return find(group, path).object != nullptr; }

std::vector<std::string> link_names(const StoredGroup& group) {
  std::vector<std::string> names;
  for (const IndexedLink& link : group.object->links) names.push_back(link.name);
  return names;
}

StoredGroup open_group(const StoredGroup& group, std::string_view path) {
  return {open(group, path, ObjectKind::group, "group")};
}

StoredObject open_array_object(const StoredGroup& group, std::string_view path) {
  return open(group, path, ObjectKind::array, "dataset");
}

std::string path_of(const StoredObject& group, std::string_view name) {
  if (name.starts_with('/')) return std::string(name);
  if (name.empty()) return group.path;
  return group.path.ends_with('/') ? fmt::format("{}{}", group.path, name) : fmt::format("{}/{}", group.path, name);
}

}  // namespace kvreplay::hdf5
