#pragma once
// The file that one shard of a replay leaves: its units, and all that is needed to put them together with those of the
// other shards. No trace is needed for that. docs/formats/shards.md has the layout: the ResultsFrame's dataset, and
// below /members what unit_dataset() made of each unit, by its place in ReplayPlan::units.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tools/replay/results_assembly.h"
#include "tools/replay/results_frame.h"
#include "tools/replay/shards.h"
#include "tools/replay/unit_cost.h"
#include "traces/hdf5/new_file.h"
#include "traces/results/dataset_collection.h"

namespace kvreplay {

/// Whole but for commit(), which makes it appear. Throws SystemError.
std::unique_ptr<NewFile> write_shard_file(const std::filesystem::path& path, const ResultsFrame& frame,
                                          const Shard& shard, KeptExtras kept, std::span<const std::size_t> units,
                                          const UnitReader& read_unit);

class ShardFile {
 public:
  /// Throws InputError: no shard, of another version, broken.
  explicit ShardFile(const InputFile& file);
  static ShardFile open(const std::filesystem::path& path);

  std::string path() const { return file_.path().string(); }
  const Shard& shard() const { return shard_; }
  const ResultsFrame& frame() const { return frame_; }
  KeptExtras kept() const { return kept_; }
  const std::vector<std::size_t>& units() const { return units_; }
  /// Throws InputError when it is broken.
  Dataset read(std::size_t unit, DatasetPart part) const;

 private:
  DatasetCollection file_;
  Shard shard_;
  ResultsFrame frame_;
  KeptExtras kept_;
  std::vector<std::size_t> units_;
};

}  // namespace kvreplay
