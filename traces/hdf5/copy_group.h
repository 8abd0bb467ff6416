#pragma once
// Takes a group of another file over as it stands. Private to traces/.

#include "traces/hdf5/hdf5.h"
#include "traces/input/stored_file.h"

namespace kvreplay::hdf5 {

/// Makes `to`/`name` with the attributes, arrays and groups of `from`: numbers in their formats, texts in UTF-8, arrays
/// in their chunks, with a checksum where they had one. Links that are not to objects of the same file are left out.
/// Throws Violation for what cannot be read, or of a type that is neither text nor number; Failure when writing fails.
void copy_group(const StoredGroup& from, hid_t to, const std::string& name);

}  // namespace kvreplay::hdf5
