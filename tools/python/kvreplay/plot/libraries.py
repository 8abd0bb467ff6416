"""The libraries that only charts and tables need: loaded when one is made, so that the rest of the package does
without them."""

from __future__ import annotations

import importlib
from types import ModuleType


def load(name: str) -> ModuleType:
    """The module. Throws ImportError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"kvreplay.plot needs {name}: pip install kvreplay[plot] ({error})") from error
