#include "tests/cuda_emulation/stream_queue.h"

#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"
#include "tests/cuda_emulation/settings.h"

namespace kvreplay::emulation {
namespace {

struct Operation {
  std::function<void()> run;
  std::shared_ptr<EventRecord> wait;
  char token = 0;  // ThreadSanitizer's: from the host that enqueues to the stream
};

struct Stream {
  explicit Stream(int on_device) : device(on_device), line(new_line()) {}
  ~Stream() { end_line(line); }

  int device;
  std::deque<std::unique_ptr<Operation>> queue;
  void* line;
  char token = 0;  // ThreadSanitizer's: from the stream to a host that waits
};

// In the order of their creation, so that a seed repeats a run.
std::vector<std::unique_ptr<Stream>> streams;
std::map<int, cudaStream_t> own_streams;  // by device
std::set<Event*> events;

cudaStream_t handle_of(Stream* stream) { return reinterpret_cast<cudaStream_t>(stream); }

Stream& stream_of(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread)
    fatal("work on the default stream, which waits for others: create one with cudaStreamNonBlocking");
  for (const auto& stream : streams)
    if (handle_of(stream.get()) == handle) return *stream;
  fatal("a stream that was destroyed or never created");
}

// Runs the first operation; false if it waits for an event that is not there yet.
bool run_first(Stream& stream) {
  if (stream.queue.front()->wait != nullptr && !stream.queue.front()->wait->done) return false;
  std::unique_ptr<Operation> operation = std::move(stream.queue.front());
  stream.queue.pop_front();
  void* const host = current_line();
  const OpenDevice open(stream.device);
  switch_line(stream.line);
  acquire(&operation->token);
  if (operation->wait != nullptr) acquire(&operation->wait->token);
  operation->run();
  operation.reset();  // on the stream's line: what an operation owned, it may have read a moment ago
  release(&stream.token);
  switch_line(host);
  return true;
}

// Tries an operation of a random stream.
bool run_anywhere() {
  Stream& stream = *streams[random_below(streams.size())];
  return !stream.queue.empty() && run_first(stream);
}

// Runs an operation of the stream, or of one that it waits for.
void run_one(Stream& stream) {
  if (!run_first(stream)) run_one(stream_of(stream.queue.front()->wait->stream));
}

template <typename Done>
void run_until(Stream& stream, const Done& done) {
  while (!stream.queue.empty() && !done()) {
    if (settings().streams == Streams::random && streams.size() > 1 && random_below(2) == 0) {
      run_anywhere();
      continue;
    }
    run_one(stream);
  }
}

void run_all(Stream& stream) {
  run_until(stream, [] { return false; });
}

}  // namespace

cudaStream_t new_stream(int device) {
  streams.push_back(std::make_unique<Stream>(device));
  return handle_of(streams.back().get());
}

void delete_stream(cudaStream_t handle) {
  Stream& stream = stream_of(handle);
  run_all(stream);
  std::erase_if(streams, [&](const auto& each) { return each.get() == &stream; });
}

int device_of_stream(cudaStream_t stream) { return stream_of(stream).device; }

cudaStream_t own_stream(int device) {
  cudaStream_t& stream = own_streams[device];
  if (stream == nullptr) stream = new_stream(device);
  return stream;
}

void enqueue(cudaStream_t handle, std::function<void()> run, std::shared_ptr<EventRecord> wait) {
  Stream& stream = stream_of(handle);
  auto operation = std::make_unique<Operation>();
  operation->run = std::move(run);
  operation->wait = std::move(wait);
  release(&operation->token);
  stream.queue.push_back(std::move(operation));
  if (settings().streams == Streams::eager) run_all(stream);
  if (settings().streams == Streams::random)
    while (random_below(3) == 0 && run_anywhere()) {
    }
}

void wait_for_stream(cudaStream_t handle) {
  Stream& stream = stream_of(handle);
  run_all(stream);
  acquire(&stream.token);
}

void wait_for_record(EventRecord& record) {
  if (!record.done) run_until(stream_of(record.stream), [&] { return record.done; });
  acquire(&record.token);
}

void wait_for_device(int device) {
  for (std::size_t i = 0; i < streams.size(); ++i)
    if (streams[i]->device == device) wait_for_stream(handle_of(streams[i].get()));
}

bool query_stream(cudaStream_t handle) {
  Stream& stream = stream_of(handle);
  if (stream.queue.empty()) {
    acquire(&stream.token);
    return true;
  }
  run_one(stream);
  return false;
}

bool query_record(EventRecord& record) {
  if (!record.done) {
    run_one(stream_of(record.stream));
    return false;
  }
  acquire(&record.token);
  return true;
}

Event* new_event(int device, bool has_timing) {
  auto* const event = new Event{device, has_timing, nullptr};
  events.insert(event);
  return event;
}

void delete_event(Event* event) {
  events.erase(event);
  delete event;
}

Event& event_of(cudaEvent_t handle) {
  auto* const event = reinterpret_cast<Event*>(handle);
  if (!events.contains(event)) fatal("an event that was destroyed or never created");
  return *event;
}

void record_event(Event& event, cudaStream_t stream) {
  event.latest = std::make_shared<EventRecord>();
  event.latest->stream = stream;
  enqueue(stream, [record = event.latest] {
    const Unseen unseen;  // the clock writes on the stack of whoever drives the stream
    record->done = true;
    record->time = std::chrono::steady_clock::now();
    release(&record->token);
  });
}

std::size_t n_streams() { return streams.size() - own_streams.size(); }
std::size_t n_events() { return events.size(); }

}  // namespace kvreplay::emulation
