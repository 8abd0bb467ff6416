#pragma once
// What a replay can hand on besides its results: the retained sets and the full-cache attention outputs.
// docs/formats/retained.md has the layout of both files.

#include <filesystem>
#include <memory>
#include <span>

#include "core/data/dataset.h"
#include "core/data/trace_info.h"
#include "tools/replay/results_assembly.h"
#include "tools/replay/unit_cost.h"
#include "tools/replay/unit_replay.h"
#include "traces/hdf5/new_file.h"

namespace kvreplay {

/// Puts the retained sets of a unit into its journal entry: for every token the cell that it is in.
void append_retained(const UnitResult& result, Dataset& entry);
/// What the tokens of the sets say, and which are marked: into one entry of each case.
void append_tokens(const SampleInfo& sample, Dataset& entry);
/// \param query_positions  of all recorded queries of the sample, ascending
void append_outputs(const UnitResult& result, std::span<const std::size_t> query_positions, Dataset& entry);

/// Of a unit that somebody else may have written: throws InputError unless write_retained_file() and
/// write_outputs_file() can read what `kept` promises, once check_unit() has passed it.
void check_extras(const ResultsFrame& frame, const Dataset& unit, KeptExtras kept);

/// The files of all units, whole but for commit(), which makes them appear. Throw SystemError.
std::unique_ptr<NewFile> write_retained_file(const std::filesystem::path& path, const ResultsFrame& frame,
                                             const UnitReader& read_unit);
std::unique_ptr<NewFile> write_outputs_file(const std::filesystem::path& path, const ResultsFrame& frame,
                                            const UnitReader& read_unit);

}  // namespace kvreplay
