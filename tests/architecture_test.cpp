// The law of the tree: who may include whom, which folder knows which library, and where a method stands.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// Headers that stand before NVIDIA's in the search path, and so must bear their names.
const std::string kShadowHeaders = "tests/cuda_emulation/include/";

const std::vector<std::string> kFolders{"core", "traces", "policies", "analysis", "tools", "tests"};

/// What each room may include besides itself: other rooms, or whole folders.
const std::map<std::string, std::set<std::string>> kMayInclude{
    {"core/base", {}},
    {"core/data", {"core/base"}},
    {"core/engine", {"core/base", "core/data"}},
    {"core/cpu", {"core/base", "core/data", "core/engine"}},
    {"core/cuda", {"core/base", "core/data", "core/engine"}},
    {"core/evidence", {"core/base", "core/data", "core/engine"}},
    {"core/contracts", {"core/base", "core/data", "core/engine", "core/evidence"}},
    {"traces/input", {"core"}},
    {"traces/hdf5", {"core", "traces/input"}},
    {"traces/reader", {"core", "traces/input", "traces/hdf5"}},
    {"traces/trace", {"core", "traces/input", "traces/hdf5"}},
    {"traces/results", {"core", "traces/input", "traces/hdf5"}},
    {"traces/learned", {"core", "traces/input", "traces/hdf5"}},
    {"traces/synthetic", {"core", "traces/trace"}},
    {"policies/shared", {"core"}},
    {"policies/scorers", {"core", "policies/shared"}},
    {"policies/modifiers", {"core", "policies/shared"}},
    {"policies/allocators", {"core", "policies/shared"}},
    {"policies", {"core"}},  // presets.cpp
    {"analysis/metrics", {"core"}},
    {"analysis/compare", {"core"}},
    {"analysis/report", {"core", "analysis/compare"}},
    {"tools/replay", {"core", "traces", "policies", "analysis"}},
    {"tools/cli", {"core", "traces", "policies", "analysis", "tools/replay"}},
    {"tools/python/binding", {"core", "traces", "policies", "analysis", "tools/replay", "tools/cli"}},
    {"tests", {"core", "traces", "policies", "analysis", "tools"}},
};

/// The room that a file lies in, "" where it lies in none.
std::string room_of(const std::string& path) {
  std::string room;
  for (const auto& [name, others] : kMayInclude)
    if (path.starts_with(name + "/") && name.size() > room.size()) room = name;
  // Files of policies/ itself are no excuse for a folder that the law does not know.
  return room == "policies" && path.find('/', 9) != std::string::npos ? "" : room;
}

/// Libraries that stay in some folders, known by how their headers begin. Tests may use all but Boost, of which only
/// the emulation of CUDA has a part.
struct Library {
  std::string name;
  std::regex header;
  std::set<std::string> folders;  ///< with all that is in them

  bool belongs_to(const std::string& path) const {
    return std::ranges::any_of(folders, [&](const std::string& folder) { return path.starts_with(folder + "/"); });
  }
};

const std::vector<Library>& libraries() {
  static const std::vector<Library> all{
      {"HDF5", std::regex("hdf5.*|H5.*"), {"traces", "tests"}},
      {"Boost", std::regex("boost/.*"), {"tools/cli", "tests/cuda_emulation"}},
      {"BLAS", std::regex("(open)?(f77)?c?blas.*|lapacke?.*"), {"core/base", "tests"}},
      {"Highway", std::regex("hwy/.*"), {"core", "tests"}},
      {"CUDA",
       std::regex("cuda.*|cublas.*|cusolver.*|cub/.*|thrust/.*|mma.h|driver_types.h|library_types.h|vector_types.h"),
       {"core/cuda", "tests"}},
      {"doctest", std::regex("doctest/.*"), {"tests"}},
      {"Google Benchmark", std::regex("benchmark/.*"), {"tests"}},
  };
  return all;
}

struct Source {
  std::string path;                       ///< from the root of the tree
  std::string folder;                     ///< of the root
  std::vector<std::string> own, foreign;  ///< what it includes with "" and with <>
};

Source read_source(const fs::path& root, const fs::path& file) {
  Source source{.path = fs::relative(file, root).generic_string(), .folder = {}, .own = {}, .foreign = {}};
  source.folder = source.path.substr(0, source.path.find('/'));
  static const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);)
    if (std::smatch match; std::regex_match(line, match, include))
      (match[1] == "\"" ? source.own : source.foreign).push_back(match[2]);
  return source;
}

const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    const fs::path root = KVREPLAY_SOURCE_DIR;
    const std::set<std::string> endings{".h", ".cpp", ".cu", ".cuh"};
    std::vector<Source> found;
    for (const std::string& folder : kFolders)
      for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder))
        if (entry.is_regular_file() && endings.contains(entry.path().extension().string()))
          found.push_back(read_source(root, entry.path()));
    return found;
  }();
  return all;
}

std::string text_of(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("every folder is there, and its sources have been read") {
  // Without this the tests below would pass on an empty tree.
  for (const std::string& folder : kFolders)
    CHECK_MESSAGE(std::ranges::count(sources(), folder, &Source::folder) >= 5, folder);
  std::size_t n_own = 0;
  for (const Source& source : sources()) n_own += source.own.size();
  CHECK(n_own > sources().size());
}

TEST_CASE(
    "core <- traces | policies | analysis <- tools/replay <- tools/cli <- tests: nobody includes against the arrows") {
  for (const Source& source : sources()) {
    const std::string room = room_of(source.path);
    REQUIRE_MESSAGE(!room.empty(), source.path << " lies in no room");
    for (const std::string& header : source.own) {
      const bool allowed =
          room_of(header) == room || std::ranges::any_of(kMayInclude.at(room), [&](const std::string& other) {
            return header.starts_with(other + "/");
          });
      // Highway's foreach_target.h and its -inl.h headers are written as they want to be.
      CHECK_MESSAGE((allowed || header.starts_with("hwy/")), source.path << " includes " << header);
    }
  }
}

TEST_CASE("no type is declared in one room and defined in another: that would hide a circle") {
  static const std::regex declaration(R"((class|struct) (\w+);)"),
      definition(R"((class|struct) (\w+)( final)?( :|\s*\{).*)");
  std::map<std::string, std::set<std::string>> defined;  // by room
  std::map<std::string, std::set<std::string>> declared;
  for (const Source& source : sources()) {
    if (source.folder == "tests") continue;
    std::istringstream text(text_of(fs::path(KVREPLAY_SOURCE_DIR) / source.path));
    for (std::string line; std::getline(text, line);) {
      std::smatch match;
      if (std::regex_match(line, match, declaration)) declared[match[2]].insert(room_of(source.path));
      if (std::regex_match(line, match, definition)) defined[match[2]].insert(room_of(source.path));
    }
  }
  for (const auto& [type, rooms] : declared)
    for (const std::string& room : rooms) CHECK_MESSAGE(defined[type].contains(room), type << " in " << room);
}

TEST_CASE("own headers are named from the root of the tree and exist") {
  for (const Source& source : sources())
    for (const std::string& header : source.own)
      if (!header.starts_with("hwy/"))
        CHECK_MESSAGE(fs::exists(fs::path(KVREPLAY_SOURCE_DIR) / header), source.path << " includes " << header);
}

TEST_CASE("a library is known to the folders it belongs to, and to no other") {
  for (const Source& source : sources()) {
    std::vector<std::string> headers = source.foreign;
    headers.insert(headers.end(), source.own.begin(), source.own.end());
    for (const std::string& header : headers)
      for (const Library& library : libraries())
        if (std::regex_match(header, library.header))
          CHECK_MESSAGE(library.belongs_to(source.path),
                        source.path << " includes " << header << " of " << library.name);
  }
}

TEST_CASE("headers that shadow NVIDIA's are named by those who write CUDA code, not by their place in the tree") {
  std::size_t n_shadows = 0;
  const Library& cuda = *std::ranges::find(libraries(), "CUDA", &Library::name);
  for (const Source& source : sources()) {
    if (source.path.starts_with(kShadowHeaders)) {
      ++n_shadows;
      CHECK_MESSAGE(std::regex_match(source.path.substr(kShadowHeaders.size()), cuda.header), source.path);
    }
    for (const std::string& header : source.own)
      CHECK_MESSAGE(!header.starts_with(kShadowHeaders), source.path << " includes " << header);
  }
  CHECK(n_shadows > 0);
}

TEST_CASE("HDF5 stays out of the headers that other folders include") {
  const auto find = [](const std::string& path) { return std::ranges::find(sources(), path, &Source::path); };
  // Headers of traces/ that lead to hdf5.h, directly or through others.
  std::set<std::string> leaking;
  for (std::size_t before = 1; before != leaking.size();) {
    before = leaking.size();
    for (const Source& source : sources()) {
      const bool direct =
          std::ranges::any_of(source.foreign, [](const std::string& h) { return h.starts_with("hdf5"); });
      if (direct || std::ranges::any_of(source.own, [&](const std::string& h) { return leaking.contains(h); }))
        leaking.insert(source.path);
    }
  }
  CHECK(find("traces/hdf5/hdf5.h") != sources().end());
  CHECK(leaking.contains("traces/hdf5/hdf5.h"));
  for (const std::string& path : leaking) {
    const std::string folder = path.substr(0, path.find('/'));
    CHECK_MESSAGE((folder == "traces" || folder == "tests"), path);
  }
}

TEST_CASE("files are parsed by the confined reader, and nowhere else") {
  static const std::regex reads(
      R"(\bH5(Fopen|Fis_hdf5|Dread|Dread_chunk|Aread|Aopen|Aiterate2?|Literate2?|Ovisit|Ocopy)\b)");
  std::size_t n_reads = 0;
  for (const Source& source : sources()) {
    if (source.folder == "tests") continue;
    const bool found = std::regex_search(text_of(fs::path(KVREPLAY_SOURCE_DIR) / source.path), reads);
    n_reads += found;
    CHECK_MESSAGE((!found || source.path.starts_with("traces/reader/")), source.path << " reads with the HDF5 library");
  }
  CHECK(n_reads > 0);
}

TEST_CASE("every scorer, modifier and allocator stands in a file of its name, in the folder of its kind") {
  // A name may return in another folder: scorers/cake.cpp and allocators/cake.cpp are both CAKE.
  static const std::regex row(R"re(const Register(Scorer|Modifier|Allocator) \w+\{\{\s*\.name = "([a-z0-9-]+)")re");
  const std::map<std::string, std::string> folder_of{
      {"Scorer", "policies/scorers/"}, {"Modifier", "policies/modifiers/"}, {"Allocator", "policies/allocators/"}};
  std::size_t n_rows = 0;
  for (const Source& source : sources()) {
    if (source.folder != "policies" || !source.path.ends_with(".cpp")) continue;
    const std::string text = text_of(fs::path(KVREPLAY_SOURCE_DIR) / source.path);
    std::vector<std::string> files;
    for (std::sregex_iterator match(text.begin(), text.end(), row), end; match != end; ++match) {
      std::string file = (*match)[2];
      std::ranges::replace(file, '-', '_');
      files.push_back(folder_of.at((*match)[1]) + file + ".cpp");
    }
    n_rows += files.size();
    const bool holds_one =
        std::ranges::any_of(folder_of, [&](const auto& each) { return source.path.starts_with(each.second); });
    CHECK_MESSAGE(files.size() == (holds_one ? 1 : 0), source.path);
    if (!files.empty()) CHECK(files.front() == source.path);
  }
  CHECK(n_rows > 40);
}

namespace {

constexpr std::size_t kMostLines = 80;

/// Calls body(first line, closing line) for the blocks whose first and last lines stand at one indentation, as
/// clang-format writes them. A declaration may take several lines; the brace ends the last of these.
template <typename Body>
void for_each_block(const std::vector<std::string>& lines, std::size_t begin, std::size_t end, std::size_t indent,
                    const Body& body) {
  std::size_t first = begin;
  bool inside = false;
  for (std::size_t i = begin; i < end; ++i) {
    const std::string& line = lines[i];
    const std::size_t at = line.find_first_not_of(' ');
    if (at == std::string::npos || at < indent || line[at] == '#') continue;
    if (at == indent && line[at] == '}') {
      if (inside) body(first, i);
      inside = false;
      continue;
    }
    if (at == indent) {
      first = i;
      inside = false;
    }
    inside = inside || line.back() == '{';
  }
}

}  // namespace

TEST_CASE("no function has more than 80 lines") {
  static const std::regex holder(R"(\s*(template.*|class|struct|union|enum|namespace|extern)\b.*)");
  std::size_t n_functions = 0;
  for (const Source& source : sources()) {
    std::istringstream text(text_of(fs::path(KVREPLAY_SOURCE_DIR) / source.path));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    const auto check = [&](std::size_t first, std::size_t last) {
      ++n_functions;
      CHECK_MESSAGE(last - first < kMostLines, source.path << ":" << first + 1 << " has " << last - first + 1);
    };
    for_each_block(lines, 0, lines.size(), 0, [&](std::size_t first, std::size_t last) {
      const bool holds = std::regex_match(lines[first], holder) && lines[first].find('(') == std::string::npos;
      if (!holds) return check(first, last);
      for_each_block(lines, first + 1, last, 2, check);
    });
  }
  CHECK(n_functions > 3000);
}
