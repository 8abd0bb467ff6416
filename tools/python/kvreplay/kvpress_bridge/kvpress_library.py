"""The library kvpress, which kvreplay does without until it is asked for."""

from __future__ import annotations

from types import ModuleType

from ..common.errors import UsageError


def load_kvpress() -> ModuleType:
    """The module kvpress; its import makes every attention function of transformers honour masked keys. Throws
    UsageError where it, or what it needs, is not installed."""
    try:
        import kvpress
    except ImportError as error:
        raise UsageError(
            f"kvpress cannot be imported ({error}): pip install kvpress, which 'kvreplay[kvpress]' brings too"
        ) from error
    return kvpress
