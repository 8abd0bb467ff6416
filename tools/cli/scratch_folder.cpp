#include "tools/cli/scratch_folder.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/base/error.h"

namespace kvreplay {

ScratchFolder::ScratchFolder() {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
  if (error) throw SystemError(fmt::format("no folder for temporary files: {} (TMPDIR names one)", error.message()));
  std::string name = (parent / "kvreplay-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr)
    throw SystemError(fmt::format("{}: cannot be made: {}", name, std::strerror(errno)));
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace kvreplay
