#include "tests/cuda_emulation/device_heap.h"

#include <signal.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "tests/cuda_emulation/fatal.h"
#include "tests/cuda_emulation/sanitizers.h"
#include "tests/cuda_emulation/settings.h"
#include "tests/cuda_emulation/thread_block.h"

namespace kvreplay::emulation {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kRangeBytes = std::size_t{1} << 36;
constexpr unsigned char kBehind = 0xCB;  // marks what lies behind an allocation

struct Allocation {
  std::size_t n_bytes = 0;
  std::size_t mapped = 0;  // whole pages
  bool live = true;
};

struct Device {
  char* begin = nullptr;
  char* unused = nullptr;                   // from here on nothing was allocated yet
  std::map<char*, Allocation> allocations;  // freed ones too: their addresses say what a bad pointer once was
  std::size_t in_use = 0;                   // bytes
  int n_open = 0;                           // OpenDevice
};

std::vector<Device> devices;

int device_of(const void* address) {
  for (std::size_t i = 0; i < devices.size(); ++i)
    if (devices[i].begin != nullptr && address >= devices[i].begin && address < devices[i].begin + kRangeBytes)
      return static_cast<int>(i);
  return -1;
}

// The allocation that begins at or before the address.
std::pair<char* const, Allocation>* allocation_before(const void* address) {
  const int device = device_of(address);
  if (device < 0) return nullptr;
  auto& allocations = devices[static_cast<std::size_t>(device)].allocations;
  auto after = allocations.upper_bound(static_cast<char*>(const_cast<void*>(address)));
  return after == allocations.begin() ? nullptr : &*--after;
}

std::string describe(const void* address) {
  const auto* const found = allocation_before(address);
  if (found == nullptr) return device_of(address) < 0 ? "not device memory" : "in no allocation";
  const auto offset = static_cast<const char*>(address) - found->first;
  return "byte " + std::to_string(offset) + " of " + (found->second.live ? "" : "freed ") + "memory of " +
         std::to_string(found->second.n_bytes) + " bytes on device " + std::to_string(device_of(address));
}

// The sanitizers name the line of a bad access; without them this tells at least what was touched.
void report_access(int, siginfo_t* info, void*) {
  if (device_of(info->si_addr) < 0) {
    signal(SIGSEGV, SIG_DFL);  // none of ours: the access is tried again and ends the program
    return;
  }
  fatal((in_kernel() ? "a kernel touches " : "the host touches ") + describe(info->si_addr));
}

void watch_accesses() {
#if !defined(KVREPLAY_EMULATION_ASAN) && !defined(KVREPLAY_EMULATION_TSAN)
  struct sigaction action {};
  action.sa_sigaction = report_access;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
#else
  (void)report_access;
#endif
}

Device& device_at(int index) {
  const auto i = static_cast<std::size_t>(index);
  if (devices.size() <= i) devices.resize(i + 1);
  Device& device = devices[i];
  if (device.begin == nullptr) {
    void* const range = mmap(nullptr, kRangeBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) fatal("no address range for the memory of a device");
    device.begin = device.unused = static_cast<char*>(range);
    watch_accesses();
  }
  return device;
}

void set_access(Device& device, int protection) {
  if (!settings().guard) return;
  for (auto& [memory, allocation] : device.allocations)
    if (allocation.live) mprotect(memory, allocation.mapped, protection);
}

std::pair<char* const, Allocation>& live_allocation(void* memory) {
  auto* const found = allocation_before(memory);
  if (found == nullptr || found->first != memory || !found->second.live)
    fatal("memory that is freed is " + describe(memory) + ", not the beginning of a live allocation");
  return *found;
}

}  // namespace

void* allocate_on_device(std::size_t n_bytes, int index) {
  Device& device = device_at(index);
  // One byte more, so that there is always something behind.
  const std::size_t mapped = (n_bytes + 1 + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (n_bytes > settings().memory || device.in_use + n_bytes > settings().memory) return nullptr;
  if (device.unused + mapped + kPageBytes > device.begin + kRangeBytes)
    fatal("the address range of a device is used up");
  char* const memory = device.unused;
  mprotect(memory, mapped, PROT_READ | PROT_WRITE);
  std::memset(memory, 0xff, n_bytes);
  std::memset(memory + n_bytes, kBehind, mapped - n_bytes);
  poison(memory + n_bytes, mapped - n_bytes);
  device.allocations[memory] = {n_bytes, mapped, true};
  device.unused += mapped + kPageBytes;
  device.in_use += n_bytes;
  if (settings().guard && device.n_open == 0) mprotect(memory, mapped, PROT_NONE);
  return memory;
}

void free_on_device(void* pointer) {
  auto& [memory, allocation] = live_allocation(pointer);
  mprotect(memory, allocation.mapped, PROT_READ | PROT_WRITE);
  unpoison(memory, allocation.mapped);
  for (std::size_t i = allocation.n_bytes; i < allocation.mapped; ++i)
    if (static_cast<unsigned char>(memory[i]) != kBehind)
      fatal("something wrote " + std::to_string(i - allocation.n_bytes) + " bytes past the end of device memory of " +
            std::to_string(allocation.n_bytes) + " bytes");
  madvise(memory, allocation.mapped, MADV_DONTNEED);
  mprotect(memory, allocation.mapped, PROT_NONE);
  allocation.live = false;
  devices[static_cast<std::size_t>(device_of(memory))].in_use -= allocation.n_bytes;
}

void clear_on_device(void* pointer) {
  auto& [memory, allocation] = live_allocation(pointer);
  std::memset(memory, 0xff, allocation.n_bytes);
}

bool is_device_address(const void* address) { return device_of(address) >= 0; }

void require_on_device(const void* memory, std::size_t n_bytes, int device, const std::string& what) {
  const auto* const found = allocation_before(memory);
  const bool inside = found != nullptr && found->second.live && device_of(memory) == device &&
                      static_cast<const char*>(memory) + n_bytes <= found->first + found->second.n_bytes;
  if (!inside)
    fatal(what + " is " + std::to_string(n_bytes) + " bytes from " + describe(memory) + ", wanted on device " +
          std::to_string(device));
}

std::size_t device_bytes_in_use(int device) { return device_at(device).in_use; }

std::size_t n_device_allocations() {
  std::size_t n = 0;
  for (const Device& device : devices)
    for (const auto& [memory, allocation] : device.allocations) n += allocation.live;
  return n;
}

OpenDevice::OpenDevice(int device) : device_(device) {
  if (device_at(device).n_open++ == 0) set_access(device_at(device), PROT_READ | PROT_WRITE);
}

OpenDevice::~OpenDevice() {
  if (--device_at(device_).n_open == 0) set_access(device_at(device_), PROT_NONE);
}

}  // namespace kvreplay::emulation
