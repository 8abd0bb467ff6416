#pragma once
// Finished work units on disk, one file each, so that a killed replay goes on where it stopped.

#include <filesystem>
#include <string>

#include "core/dataset.h"

namespace kvreplay {

/// The folder RESULTS.units beside the results-to-be. Each unit is a file that is whole or absent; `options.json` says
/// which replay they belong to. Safe to use from several threads for different units.
class UnitJournal {
 public:
  /// Creates the folder, or takes up one that an interrupted replay with the same options left.
  /// \param options   identifies the replay: units of another one are refused, or dropped with `overwrite`
  /// Throws UsageError (other options), SystemError (cannot write; another replay is at it).
  UnitJournal(const std::filesystem::path& results, const std::string& options, bool overwrite);
  ~UnitJournal();
  UnitJournal(const UnitJournal&) = delete;
  UnitJournal& operator=(const UnitJournal&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// Whether no unit is finished.
  bool empty() const;
  bool has(std::size_t unit) const;
  Dataset read(std::size_t unit) const;
  void write(std::size_t unit, const Dataset& dataset) const;

  /// Deletes the folder and what is in it.
  void remove();

 private:
  std::filesystem::path file_of(std::size_t unit) const;

  std::filesystem::path folder_;
  int lock_ = -1;
};

}  // namespace kvreplay
