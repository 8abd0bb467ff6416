"""The Python half of kvreplay: replays and compares from Python, records models, learns policies, draws results.

    import kvreplay as kr
    ds = kr.replay("trace.h5", ["snapkv", "h2o"], [0.1, 0.2])

Everything is imported when it is first used: `import kvreplay` by itself loads no numpy.

Rooms: common <- recorder | importer | learning | validation | plot | parts <- api | commands, the programs;
api <- kvpress_bridge.
"""

from importlib import import_module

TYPE_CHECKING = False  # as of typing, which would be loaded for it
if TYPE_CHECKING:
    from . import plot
    from ._core import Layer, View
    from .api.comparison import Comparison, compare
    from .api.fitted import fit_budgets
    from .api.live_recording import recording
    from .api.long_table import frame
    from .api.opened_results import open_results
    from .api.opened_trace import Trace, open_trace
    from .api.page import report
    from .api.planned import Plan, plan
    from .api.recorded import record
    from .api.registry import metrics, policies
    from .api.replayed import replay
    from .api.retained_sets import RetainedSets, retained
    from .api.score_files import save_scores
    from .api.trained import train
    from .api.validated import Validation, validate
    from .common.errors import DeviceError, Error, IncompleteError, InputError, MachineError, UsageError
    from .importer.importing import import_trace
    from .kvpress_bridge.from_kvpress import from_kvpress
    from .kvpress_bridge.head_budget_press import HeadBudgetPress as HeadBudgetPress
    from .kvpress_bridge.retained_press import RetainedPress as RetainedPress
    from .kvpress_bridge.to_kvpress import to_kvpress
    from .parts.decorators import allocator, modifier, scorer, scorer_at
    from .parts.part import Part
    from .plot.pooling import pool

    VERSION: str
    __version__: str

_HOMES = {
    "api.comparison": ("Comparison", "compare"),
    "api.fitted": ("fit_budgets",),
    "api.live_recording": ("recording",),
    "api.long_table": ("frame",),
    "api.opened_results": ("open_results",),
    "api.opened_trace": ("Trace", "open_trace"),
    "api.page": ("report",),
    "api.planned": ("Plan", "plan"),
    "api.recorded": ("record",),
    "api.registry": ("metrics", "policies"),
    "api.replayed": ("replay",),
    "api.retained_sets": ("RetainedSets", "retained"),
    "api.score_files": ("save_scores",),
    "api.trained": ("train",),
    "api.validated": ("Validation", "validate"),
    "common.errors": ("DeviceError", "Error", "IncompleteError", "InputError", "MachineError", "UsageError"),
    "kvpress_bridge.from_kvpress": ("from_kvpress",),
    "kvpress_bridge.head_budget_press": ("HeadBudgetPress",),
    "kvpress_bridge.retained_press": ("RetainedPress",),
    "kvpress_bridge.to_kvpress": ("to_kvpress",),
    "parts.decorators": ("allocator", "modifier", "scorer", "scorer_at"),
    "parts.part": ("Part",),
    "importer.importing": ("import_trace",),
    "plot.pooling": ("pool",),
}
# Classes of kvpress's kind: `from kvreplay import *` must do without that library.
_NEED_KVPRESS = ("HeadBudgetPress", "RetainedPress")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "DeviceError",
    "Error",
    "IncompleteError",
    "InputError",
    "Layer",
    "MachineError",
    "Part",
    "Plan",
    "RetainedSets",
    "Trace",
    "UsageError",
    "VERSION",
    "Validation",
    "View",
    "allocator",
    "compare",
    "fit_budgets",
    "frame",
    "import_trace",
    "from_kvpress",
    "metrics",
    "modifier",
    "open_results",
    "open_trace",
    "plan",
    "plot",
    "policies",
    "pool",
    "record",
    "recording",
    "replay",
    "report",
    "retained",
    "save_scores",
    "scorer",
    "scorer_at",
    "train",
    "validate",
    "to_kvpress",
]


def __getattr__(name: str) -> object:
    if name in ("VERSION", "__version__"):
        from importlib.metadata import version

        value: object = version("kvreplay")
    elif name in ("Layer", "View"):
        from .common.kvreplay_module import load_core

        value = getattr(load_core(), name)
    elif name == "plot":
        value = import_module(".plot", __name__)
    elif name in _HOME_OF:
        value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next use finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NEED_KVPRESS})
