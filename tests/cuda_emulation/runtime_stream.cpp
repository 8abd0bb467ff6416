// The runtime's functions about streams and events.

#include <cuda_runtime.h>

#include "tests/cuda_emulation/api_call.h"
#include "tests/cuda_emulation/stream_queue.h"

using namespace kvreplay::emulation;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return api_call(Call::stream, cudaErrorMemoryAllocation, [&] {
    if (flags != cudaStreamNonBlocking)
      fatal("a stream without cudaStreamNonBlocking waits for the default stream, which is not emulated");
    *stream = new_stream(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return api_call([&] {
    delete_stream(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return api_call(Call::wait, cudaErrorIllegalAddress, [&] {
    wait_for_stream(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return api_call([&] { return query_stream(stream) ? cudaSuccess : cudaErrorNotReady; });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return api_call([&] {
    device_of_stream(stream);
    if (event_of(event).latest != nullptr)
      enqueue(
          stream, [] {}, event_of(event).latest);
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return api_call(Call::stream, cudaErrorMemoryAllocation, [&] {
    *event = reinterpret_cast<cudaEvent_t>(new_event(current_device(), (flags & cudaEventDisableTiming) == 0));
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return api_call([&] {
    delete_event(&event_of(event));
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api_call([&] {
    if (event_of(event).device != device_of_stream(stream)) return cudaErrorInvalidResourceHandle;
    record_event(event_of(event), stream);
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return api_call(Call::wait, cudaErrorIllegalAddress, [&] {
    if (event_of(event).latest != nullptr) wait_for_record(*event_of(event).latest);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return api_call([&] {
    Event& queried = event_of(event);
    return queried.latest == nullptr || query_record(*queried.latest) ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return api_call([&] {
    const Event& first = event_of(from);
    const Event& second = event_of(to);
    if (!first.has_timing || !second.has_timing || first.latest == nullptr || second.latest == nullptr)
      return cudaErrorInvalidResourceHandle;
    if (!first.latest->done || !second.latest->done) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(second.latest->time - first.latest->time).count();
    return cudaSuccess;
  });
}

}  // extern "C"
