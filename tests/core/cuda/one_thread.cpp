// Under ThreadSanitizer host work runs on one thread: TBB is not instrumented, and what it orders looks like a race.

#ifdef __SANITIZE_THREAD__
#include <tbb/global_control.h>

namespace {

const tbb::global_control one_thread(tbb::global_control::max_allowed_parallelism, 1);

}  // namespace
#endif
