"""Loads a causal language model and its tokenizer from a local directory or a GGUF file."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, first_line
from .gguf_tokenizer import build_gguf_tokenizer, read_gguf_fields


@dataclass
class ModelSource:
    """Where the weights lie, and what is known before they are loaded."""

    path: Path
    model_id: str
    tokenizer: object

    @property
    def is_gguf(self) -> bool:
        return self.path.suffix.lower() == ".gguf"


def open_model(path: Path, model_id: str | None) -> ModelSource:
    """Checks the path and loads the tokenizer, which takes seconds where the weights may take minutes."""
    _keep_libraries_quiet()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        fields = read_gguf_fields(path)
        return ModelSource(
            path, model_id or fields.get("general.name") or path.stem, build_gguf_tokenizer(fields, path)
        )
    if not (path / "config.json").is_file():
        raise InputError(f"{path}: not a model: neither a .gguf file nor a directory with a config.json")
    return ModelSource(path, model_id or path.resolve().name, _load_tokenizer(path))


def _load_tokenizer(path: Path):
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises many types for a missing or broken file
        raise InputError(f"{path}: {_reason(error, 'its tokenizer')}") from error
    if not tokenizer.is_fast:
        raise InputError(f"{path}: its tokenizer gives no character offsets (no tokenizer.json), which the spans need")
    return tokenizer


def load_model(
    source: ModelSource, attention_name: str, compute_dtype: str, device: str, allow_pickled_weights: bool = False
):
    """The model in evaluation mode, calling the attention function registered as `attention_name`."""
    import torch
    from transformers import AutoModelForCausalLM

    folder, extra = (source.path.parent, {"gguf_file": source.path.name}) if source.is_gguf else (source.path, {})
    if not (source.is_gguf or allow_pickled_weights):
        _check_weights(folder)
    try:
        with nullcontext() if allow_pickled_weights else _no_pickled_files():
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, compute_dtype),
                attn_implementation=attention_name,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=None if allow_pickled_weights else True,
                **extra,
            )
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, KeyError) and attention_name in str(error):  # asks for it in a table of its own
            reason = "its attention does not go through the attention interface of transformers"
        else:
            reason = _reason(error, "the model")
        raise InputError(f"{source.path}: {reason}") from error
    if model.config.is_encoder_decoder:
        raise InputError(f"{source.path}: an encoder-decoder model; only causal (decoder) models can be recorded")
    return model.eval().to(device)


def _check_weights(folder: Path) -> None:
    """Throws InputError where a folder's weights are pickled only: the library would not say which option allows them."""
    if not any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        for pickled in sorted(folder.glob("pytorch_model*.bin")):
            raise _pickled(pickled)


@contextmanager
def _no_pickled_files() -> Iterator[None]:
    """Meanwhile torch.load() throws. use_safetensors=True is not enough: an index, or config.json, may name any file."""
    import torch

    def refuse(file, *args, **kwargs):
        raise _pickled(file)

    original, torch.load = torch.load, refuse
    try:
        yield
    finally:
        torch.load = original


def _pickled(file) -> InputError:
    return InputError(f"{file}: pickled weights, which can hold code; --allow-pickled-weights loads them all the same")


def _reason(error: Exception, what: str) -> str:
    """Why the library does not load `what`."""
    if "trust_remote_code" in str(error):
        return f"{what} needs Python code of its own (auto_map), which is never run"
    if isinstance(error, pickle.UnpicklingError):  # the library's own message advises to load it without checks
        return f"{what} does not load: its pickled weights hold more than tensors"
    return f"{what} does not load: {first_line(error)}"


def model_config_json(source: ModelSource, model) -> str:
    """The model's own configuration: its config.json word for word; what the library made of it for a GGUF."""
    if source.is_gguf:
        return model.config.to_json_string(use_diff=True)
    return (source.path / "config.json").read_text(encoding="utf-8")


def end_tokens(model, tokenizer) -> set[int]:
    """Ids of the tokens at which the model ends its answer."""
    ids: set[int] = set()
    for configured in (model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id):
        if configured is not None:
            ids.update([configured] if isinstance(configured, int) else configured)
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return ids


def _keep_libraries_quiet() -> None:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
