// The extension module kvreplay._core: replays inside of Python's process, with parts of policies that are written in
// it.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <exception>
#include <string>

#include "core/base/error.h"
#include "core/contracts/budget.h"
#include "core/cpu/blas_core.h"
#include "tools/cli/command.h"
#include "tools/python/binding/layer.h"
#include "tools/python/binding/replay_inside.h"
#include "tools/python/binding/view.h"
#include "traces/learned/learned_policy_file.h"

namespace {

namespace nb = nanobind;

/// Errors of the engine arrive as the package's classes, one for each exit code.
void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const kvreplay::Error& error) {
    const nb::object classes = nb::module_::import_("kvreplay.common.errors").attr("BY_EXIT_CODE");
    const nb::object type = classes[nb::int_(static_cast<int>(error.code()))];
    PyErr_SetString(type.ptr(), kvreplay::message_line(error).c_str());
  }
}

}  // namespace

NB_MODULE(_core, m) {
  using namespace nb::literals;
  kvreplay::use_learned_policy_files();
  nb::register_exception_translator(translate, nullptr);
  m.attr("version") = KVREPLAY_VERSION;
  m.def("blas_core", &kvreplay::blas_core, "the kernels that OpenBLAS has chosen");
  nb::class_<kvreplay::Budget>(m, "Budget", "One budget in one layer.")
      .def_ro("tokens", &kvreplay::Budget::tokens, "int: kept per head")
      .def_ro("kept", &kvreplay::Budget::kept, "float: the share kept, as asked for")
      .def_ro("removed", &kvreplay::Budget::removed, "float: the share removed, as asked for");
  kvreplay::python::declare_view(m);
  kvreplay::python::declare_layer(m);
  m.def("replay", &kvreplay::python::replay_inside, "words"_a, "parts"_a, "heard"_a, "progress_ms"_a,
        "the replay command in this process; returns what it prints");
}
