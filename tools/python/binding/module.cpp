// The extension module kvreplay._core.

#include <nanobind/nanobind.h>

NB_MODULE(_core, m) { m.attr("version") = KVREPLAY_VERSION; }
