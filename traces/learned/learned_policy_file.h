#pragma once
// Learned policies as HDF5, format kvlkv-1 (docs/formats/learned.md).

#include <filesystem>
#include <optional>

#include "core/contracts/learned_policy.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// Throws InputError naming file and object: another format, a missing array, a wrong shape, a damaged one, NaN.
LearnedPolicy read_learned_policy_file(const InputFile& file);

/// Lets policies that name such a file have it.
void use_learned_policy_files();

/// Writes `path`.tmp, syncs it, renames it to `path`. The same policy gives the same bytes. Throws SystemError (disk
/// full, no permission) and leaves nothing behind.
/// \param scorer_from  a file whose scorer is copied as it stands, with everything that LearnedScorer does not hold;
///                     the policy has none then. May be of `path`.
void write_learned_policy_file(const std::filesystem::path& path, const LearnedPolicy& policy,
                               const std::optional<InputFile>& scorer_from = std::nullopt);

}  // namespace kvreplay
