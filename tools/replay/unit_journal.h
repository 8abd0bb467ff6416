#pragma once
// Finished work units on disk, one file each, so that a killed replay goes on where it stopped.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "core/base/error.h"
#include "core/data/dataset.h"
#include "tools/replay/unit_cost.h"
#include "traces/hdf5/new_file.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// Everything that decides what a journal's units hold.
/// \param options  of the replay (ReplayPlan::options)
std::string journal_options(const std::string& options, KeptExtras kept);

/// A finished unit that does not read any more. It is removed: whoever catches this can replay it.
class DamagedUnit : public SystemError {
 public:
  DamagedUnit(std::size_t unit, const std::string& message) : SystemError(message), unit_(unit) {}
  std::size_t unit() const noexcept { return unit_; }

 private:
  std::size_t unit_;
};

/// The folder OUTPUT.units beside the output-to-be, locked against other processes. Each unit is a file that is whole
/// or absent; `options.json` says which replay they belong to, and which output files it was about to put in place.
/// Safe to use from several threads for different units.
class UnitJournal {
 public:
  /// Creates the folder, or takes up one that an interrupted replay with the same options left.
  /// \param options   identifies the replay: units of another one are refused, or dropped with `overwrite`
  /// Throws UsageError (other options), SystemError (cannot write; another replay is at it).
  UnitJournal(const std::filesystem::path& output, const std::string& options, bool overwrite);
  ~UnitJournal();
  UnitJournal(const UnitJournal&) = delete;
  UnitJournal& operator=(const UnitJournal&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// Whether no unit is finished.
  bool empty() const;
  bool has(std::size_t unit) const;
  /// Throws DamagedUnit when it cannot be read or `check` throws InputError.
  Dataset read(std::size_t unit, DatasetPart part = DatasetPart::whole,
               const std::function<void(const Dataset&)>& check = {}) const;
  void write(std::size_t unit, const Dataset& dataset) const;

  /// Lets finished files appear under their names, one after the other, the output itself last. A process that is
  /// killed among them has left word which of them are its own.
  void publish(std::span<const std::unique_ptr<NewFile>> files) const;
  /// Whether there is a file at `path` that the journal of `output`, if it still exists, published.
  static bool published(const std::filesystem::path& output, const std::filesystem::path& path);

  /// How many units an interrupted replay with these options has left; 0 without one. Changes nothing. Throws
  /// UsageError as the constructor does.
  static std::size_t n_left(const std::filesystem::path& output, const std::string& options, bool overwrite);

  /// Does the work that the journal is for, and removes the journal when it ends, well or not. Finished units stay
  /// where the same command can go on with them: after SystemError, which then says where they are, and after
  /// UsageError.
  void complete(const std::function<void()>& work);

  /// Deletes the folder and what is in it.
  void remove();

 private:
  std::filesystem::path file_of(std::size_t unit) const;
  InputFile open(std::size_t unit) const;

  std::filesystem::path folder_;
  std::string options_;
  int lock_ = -1;
  mutable std::mutex reading_;
  mutable std::map<std::size_t, InputFile> opened_;
};

}  // namespace kvreplay
