#pragma once
// Streams as queues of operations, and events. Only what the program asks for orders a stream with the host and with
// other streams: enqueueing, events, and waiting.

#include <driver_types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace kvreplay::emulation {

/// One recording of an event. Waiting for an event waits for the recording that was the latest at the call.
struct EventRecord {
  bool done = false;
  cudaStream_t stream = nullptr;
  std::chrono::steady_clock::time_point time;
  char token = 0;  ///< ThreadSanitizer's
};

struct Event {
  int device = 0;
  bool has_timing = true;
  std::shared_ptr<EventRecord> latest;  ///< null: never recorded
};

cudaStream_t new_stream(int device);

/// Runs what is left in the stream, without ordering the host after it.
void delete_stream(cudaStream_t stream);

/// A stream's device. Ends the program on the default stream, which is not emulated, and on one that is not there.
int device_of_stream(cudaStream_t stream);

/// The stream of what the runtime does for the host itself (cudaMemcpy). It has no order with the other streams, which
/// is what non-blocking streams get from CUDA.
cudaStream_t own_stream(int device);

/// Adds an operation, which runs with its device's memory open.
/// \param wait  null, or what must be done before
void enqueue(cudaStream_t stream, std::function<void()> operation, std::shared_ptr<EventRecord> wait = nullptr);

/// Runs the stream to its end, or until the recording is done, and orders the host after it.
void wait_for_stream(cudaStream_t stream);
void wait_for_record(EventRecord& record);
void wait_for_device(int device);

/// Whether it is done; if so the host is ordered after it. If not, an operation runs, so that a loop comes to an end.
bool query_stream(cudaStream_t stream);
bool query_record(EventRecord& record);

Event* new_event(int device, bool has_timing);
void delete_event(Event* event);

/// The event of a handle. Ends the program if it is not there.
Event& event_of(cudaEvent_t handle);

void record_event(Event& event, cudaStream_t stream);

/// Streams and events that the program has created.
std::size_t n_streams();
std::size_t n_events();

}  // namespace kvreplay::emulation
