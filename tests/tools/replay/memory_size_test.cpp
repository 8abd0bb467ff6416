#include "tools/replay/memory_size.h"

#include <doctest/doctest.h>

#include "core/base/error.h"

using namespace kvreplay;

TEST_CASE("sizes of memory are numbers with a unit, of 1000 or of 1024") {
  CHECK(parse_memory("memory", "1") == 1);
  CHECK(parse_memory("memory", "512B") == 512);
  CHECK(parse_memory("memory", "800MB") == 800'000'000);
  CHECK(parse_memory("memory", "4GiB") == std::size_t{4} << 30);
  CHECK(parse_memory("memory", "4 gib") == std::size_t{4} << 30);
  CHECK(parse_memory("memory", "4G") == std::size_t{4} << 30);  // a letter alone is of 1024, as other programs have it
  CHECK(parse_memory("memory", "512m") == std::size_t{512} << 20);
  CHECK(parse_memory("memory", "1.5kB") == 1500);
  CHECK(parse_memory("memory", "0.5KiB") == 512);
  CHECK(parse_memory("memory", "2TB") == 2'000'000'000'000);
  for (const char* text : {"", "GB", "-1GB", "0", "0.2B", "nan", "inf", "1e400", "4GBs", "4 G B x", "1,5GB",
                           "99999999999TB", "four"})
    CHECK_THROWS_AS(parse_memory("memory", text), UsageError);
}

TEST_CASE("sizes are told in the unit that fits") {
  CHECK(memory_text(12) == "12 bytes");
  CHECK(memory_text(1536) == "1.5 KiB");
  CHECK(memory_text(512.0 * (1 << 20)) == "512 MiB");
  CHECK(memory_text(1023.0 * (1 << 20)) == "1.0 GiB");
}

TEST_CASE("the machine has some memory available") { CHECK(available_memory() > (1 << 20)); }
