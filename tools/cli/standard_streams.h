#pragma once
// The process's own streams: what happens when a shell closed them or a reader like `head` goes away.

namespace kvreplay {

/// Call first. A broken pipe no longer kills the process, so that temporary files are removed on the way out; closed
/// standard descriptors are occupied, so that no data file can get their numbers and be written into by messages.
void prepare_standard_streams();

/// Call last: flushes std::cout. Returns `exit_code`, or 1 when output was lost; says why on std::cerr, but not when
/// the reader of a pipe simply had enough.
int finish_standard_output(int exit_code);

}  // namespace kvreplay
