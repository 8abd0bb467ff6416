// Main of the emulated tests. Signals are left to the sanitizers and the emulation, which know more about them.

#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
