"""The extension module kvreplay._core, the engine inside Python: of the installed package, or of a build of the sources."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from .blas_core import chosen_blas_core
from .errors import UsageError
from .kvreplay_program import CHECKOUT, find_program

NAME = "kvreplay._core"


def load_core() -> ModuleType:
    """kvreplay._core. A package that was installed without it takes the one of a build tree: of the program in use (what
    KVREPLAY_PROGRAM names), else of the folder build of the sources. Throws UsageError where there is none."""
    try:
        return import_module(NAME)
    except ModuleNotFoundError as error:
        if error.name != NAME:
            raise
    for path in _built_modules():
        return _load(path)
    raise UsageError(
        "kvreplay._core, which replays inside Python, is not part of this installation: pip install kvreplay, or in the "
        "sources `pip install -e .` or a build with -DKVREPLAY_PYTHON_MODULE=ON"
    )


def _built_modules() -> list[Path]:
    folders = [CHECKOUT / "build"]
    try:
        folders.insert(0, Path(find_program()).parent)
    except UsageError:
        pass  # the module is enough
    return [path for folder in folders for path in sorted(folder.glob("python/_core*.so"))]


def _load(path: Path) -> ModuleType:
    spec = spec_from_file_location(NAME, path)
    module = module_from_spec(spec)
    sys.modules[NAME] = module
    try:
        with chosen_blas_core():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[NAME]
        raise
    return module
