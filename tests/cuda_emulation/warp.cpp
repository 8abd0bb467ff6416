// Operations that the lanes of a warp do together.

#include <cstdint>

#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"
#include "tests/cuda_emulation/settings.h"
#include "tests/cuda_emulation/thread_block.h"
#include "tests/cuda_emulation/warp_functions.h"

namespace kvreplay::emulation {
namespace {

// Not memcpy and memset, which ThreadSanitizer would see: lanes hand values on without ordering memory.
void copy(void* to, const void* from, std::size_t n) {
  auto* const target = static_cast<volatile char*>(to);
  const auto* const source = static_cast<const volatile char*>(from);
  for (std::size_t i = 0; i < n; ++i) target[i] = source[i];
}

void clear(void* memory, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) static_cast<volatile char*>(memory)[i] = 0;
}

bool has(unsigned mask, unsigned lane) { return (mask >> lane & 1) != 0; }

// Whether all lanes of the request have come; ends the program where they never will.
bool all_arrived(const WarpRequest& request, unsigned first_rank, const CallSite& site) {
  for (unsigned l = 0; l < 32; ++l) {
    if (!has(request.mask, l)) continue;
    if (first_rank + l >= block().n_threads) fatal("a mask names a lane beyond the block", &site);
    const Thread& thread = block().threads[first_rank + l];
    if (thread.state == ThreadState::exited) fatal("a mask names a lane that has exited", &site);
    if (thread.state != ThreadState::in_warp_operation) return false;
    if (thread.request.operation != request.operation || thread.request.mask != request.mask ||
        thread.request.value_bytes != request.value_bytes)
      fatal("lanes of one mask meet in different warp operations", &site);
  }
  return true;
}

void exchange_values(const Thread* warp, unsigned mask, const CallSite& site) {
  unsigned ballot = 0;
  for (unsigned l = 0; l < 32; ++l)
    if (has(mask, l) && warp[l].request.operation == WarpOperation::ballot)
      ballot |= *static_cast<const unsigned*>(warp[l].request.value) << l;
  for (unsigned l = 0; l < 32; ++l) {
    if (!has(mask, l)) continue;
    const WarpRequest& request = warp[l].request;
    const std::size_t n = request.value_bytes;
    switch (request.operation) {
      case WarpOperation::synchronize:
      case WarpOperation::meet:
        break;
      case WarpOperation::shuffle:
        if (!has(mask, static_cast<unsigned>(request.source)))
          fatal("a shuffle reads a lane outside the mask", &warp[l].site);
        copy(request.result, warp[request.source].request.value, n);
        break;
      case WarpOperation::ballot:
        copy(request.result, &ballot, n);
        break;
      case WarpOperation::gather:
        for (unsigned from = 0; from < 32; ++from) {
          char* const place = static_cast<char*>(request.result) + from * n;
          if (has(mask, from))
            copy(place, warp[from].request.value, n);
          else
            clear(place, n);
        }
        break;
      default:
        fatal("an unknown warp operation", &site);
    }
  }
}

}  // namespace

void do_in_warp(const WarpRequest& request, const CallSite& site) {
  Thread& me = current_thread();
  const unsigned first_rank = me.rank / 32 * 32;
  Thread* const warp = &block().threads[first_rank];
  const bool orders_memory = request.operation == WarpOperation::synchronize;
  me.site = site;
  me.request = request;
  me.state = ThreadState::in_warp_operation;
  if (!has(request.mask, me.rank - first_rank)) fatal("the calling lane is not in the mask", &site);

  unsigned& n_syncs = block().n_syncs[first_rank / 32];
  char* const token = &block().tokens->warps[first_rank / 32][n_syncs % 2];
  if (orders_memory) release(token);
  if (all_arrived(request, first_rank, site)) {
    exchange_values(warp, request.mask, site);
    for (unsigned l = 0; l < 32; ++l)
      if (has(request.mask, l) && &warp[l] != &me) wake(warp[l]);
    me.state = ThreadState::runnable;
    n_syncs += orders_memory;
    // Under a random schedule the last to come is not always the first to go on.
    if (settings().schedule == Schedule::random && random_below(2) == 0) {
      wake(me);
      Fiber::leave();
    }
  } else {
    Fiber::leave();
  }
  if (orders_memory) acquire(token);
}

}  // namespace kvreplay::emulation
