"""Where the model that is run comes from: its files, or a program that has it already."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from .attention_hook import ATTENTION_NAME, AttentionHook
from .errors import InputError
from .hooked_model import check_model, hooked
from .model_loader import load_model, model_config_json, open_model


class ModelToRun(Protocol):
    """tokenizer, model_id: known before the weights are"""

    tokenizer: object
    model_id: str

    def hooked(self) -> AbstractContextManager[tuple[object, AttentionHook]]:
        """The model in evaluation mode, and the hook that its attention reports to."""

    def config_json(self, model) -> str:
        """The model's own configuration."""


class ModelOfFiles:
    """A folder or a .gguf file, as the commands take it: `options` has a model's options. InputError where there is none."""

    def __init__(self, options: argparse.Namespace, model_id: str | None = None):
        self._source = open_model(options.model, model_id)
        self._options = options
        self.tokenizer, self.model_id = self._source.tokenizer, self._source.model_id

    @contextmanager
    def hooked(self) -> Iterator[tuple[object, AttentionHook]]:
        options, hook = self._options, AttentionHook()
        hook.register()
        model = load_model(
            self._source, ATTENTION_NAME, options.compute_dtype, options.device, options.allow_pickled_weights
        )
        yield model, hook

    def config_json(self, model) -> str:
        return model_config_json(self._source, model)


class LiveModel:
    """A model of transformers in memory, which is as it was afterwards. UsageError for what is none."""

    def __init__(self, model, tokenizer, model_id: str | None):
        check_model(model)
        self._model, self.tokenizer = model, tokenizer
        self.model_id = model_id or _name_of(model)

    @contextmanager
    def hooked(self) -> Iterator[tuple[object, AttentionHook]]:
        with hooked(self._model) as hook:
            yield self._model, hook

    def config_json(self, model) -> str:
        return model.config.to_json_string(use_diff=True)


def check_tokenizer(tokenizer) -> None:
    """Throws InputError unless it says which characters a token stands for."""
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} gives no character offsets, which spans need; use a fast tokenizer"
        )


def _name_of(model) -> str:
    """The name that it was loaded by, of a folder the last part: paths tell more about a machine than a trace should."""
    name = model.config.name_or_path  # "" of one that was made in memory
    if not name:
        return type(model).__name__
    return Path(name).resolve().name if Path(name).is_dir() else name
