#include "core/cuda/device.cuh"
#include "tests/cuda_emulation/selftest/device_array.h"

namespace kvreplay::testing {
namespace {

__global__ void append_digit(int* number, int digit) { *number = *number * 10 + digit; }

void append(const TestStream& stream, const DeviceArray<int>& number, int digit) {
  require_success(cuda::launch(append_digit, dim3(1), dim3(1), 0, stream.get(), number.data(), digit));
}

class TestEvent {
 public:
  explicit TestEvent(unsigned flags = cudaEventDisableTiming) {
    require_success(cudaEventCreateWithFlags(&event_, flags));
  }
  ~TestEvent() { cudaEventDestroy(event_); }
  TestEvent(const TestEvent&) = delete;
  TestEvent& operator=(const TestEvent&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

TEST_CASE("a stream does its work in order") {
  const TestStream stream;
  const DeviceArray<int> number({0}, stream);
  for (const int digit : {1, 2, 3, 4}) append(stream, number, digit);
  CHECK(number.read(stream)[0] == 1234);
}

TEST_CASE("streams wait for each other's events") {
  const TestStream first, second;
  const TestEvent there, back;
  const DeviceArray<int> number({0}, first);
  append(first, number, 1);
  require_success(cudaEventRecord(there.get(), first.get()));
  require_success(cudaStreamWaitEvent(second.get(), there.get(), 0));
  append(second, number, 2);
  require_success(cudaEventRecord(back.get(), second.get()));
  require_success(cudaStreamWaitEvent(first.get(), back.get(), 0));
  append(first, number, 3);
  CHECK(number.read(first)[0] == 123);
}

TEST_CASE("waiting is for the last recording before the call") {
  const TestStream first, second;
  const TestEvent event;
  const DeviceArray<int> number({0}, first), other({0}, first);
  append(first, number, 1);
  require_success(cudaEventRecord(event.get(), first.get()));
  require_success(cudaStreamWaitEvent(second.get(), event.get(), 0));
  // Recorded anew behind work that waits for the second stream: no circle, for its wait is for the first recording.
  append(second, number, 2);
  const TestEvent done;
  require_success(cudaEventRecord(done.get(), second.get()));
  require_success(cudaStreamWaitEvent(first.get(), done.get(), 0));
  append(first, number, 3);
  require_success(cudaEventRecord(event.get(), first.get()));
  require_success(cudaEventSynchronize(event.get()));
  CHECK(number.read(second)[0] == 123);
}

TEST_CASE("queries end, and order the host when they say so") {
  const TestStream stream;
  const TestEvent event;
  const DeviceArray<int> number({0}, stream);
  CHECK(cudaEventQuery(event.get()) == cudaSuccess);  // never recorded
  append(stream, number, 7);
  require_success(cudaMemcpyAsync(number.host(), number.data(), sizeof(int), cudaMemcpyDeviceToHost, stream.get()));
  require_success(cudaEventRecord(event.get(), stream.get()));
  while (cudaEventQuery(event.get()) == cudaErrorNotReady) {
  }
  CHECK(*number.host() == 7);
  while (cudaStreamQuery(stream.get()) == cudaErrorNotReady) {
  }
  CHECK(cudaGetLastError() == cudaSuccess);  // not ready is no error
}

TEST_CASE("events tell the time between them") {
  const TestStream stream;
  const TestEvent first(cudaEventDefault), second(cudaEventDefault), untimed;
  const DeviceArray<int> number({0}, stream);
  require_success(cudaEventRecord(first.get(), stream.get()));
  append(stream, number, 1);
  require_success(cudaEventRecord(second.get(), stream.get()));
  require_success(cudaEventSynchronize(second.get()));
  float milliseconds = -1;
  require_success(cudaEventElapsedTime(&milliseconds, first.get(), second.get()));
  CHECK(milliseconds >= 0);
  CHECK(cudaEventElapsedTime(&milliseconds, first.get(), untimed.get()) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
}

TEST_CASE("cudaDeviceSynchronize waits for all streams") {
  const TestStream first, second;
  const DeviceArray<int> one({0}, first), two({0}, second);
  append(first, one, 4);
  append(second, two, 5);
  for (const DeviceArray<int>* array : {&one, &two})
    require_success(cudaMemcpyAsync(array->host(), array->data(), sizeof(int), cudaMemcpyDeviceToHost,
                                    array == &one ? first.get() : second.get()));
  require_success(cudaDeviceSynchronize());
  CHECK(*one.host() == 4);
  CHECK(*two.host() == 5);
}

}  // namespace kvreplay::testing
