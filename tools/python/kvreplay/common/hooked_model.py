"""A model of the user's own under our attention function, and as it was afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .attention_hook import ATTENTION_NAME, AttentionHook
from .errors import UsageError

_active: list[AttentionHook] = []  # transformers knows one function by ATTENTION_NAME: one model at a time


def check_model(model) -> None:
    """Throws UsageError unless `model` is a causal language model of transformers."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise UsageError(
            f"expected a model of transformers (PreTrainedModel), found {type(model).__module__}.{type(model).__name__}; "
            "of a pipeline, give its .model"
        )
    if model.config.is_encoder_decoder:
        raise UsageError(
            f"{type(model).__name__} is an encoder-decoder model; only causal (decoder) models have a trace"
        )


@contextlib.contextmanager
def hooked(model) -> Iterator[AttentionHook]:
    """Meanwhile the model's attention reports to the hook, and the model is in evaluation mode. It computes as before
    where its attention is "sdpa" or "eager", by SDPA where it is another. Afterwards its attention, its mode and what
    requires gradients are as they were, also after an exception."""
    check_model(model)
    if _active:
        raise UsageError("a model is recorded already: end that recording first")
    before = _implementations(model)
    training = [module for module in model.modules() if module.training]
    gradients = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hook = AttentionHook(before[""] if before[""] == "eager" else "sdpa")
    _active.append(hook)
    try:
        hook.register()
        model.set_attn_implementation(ATTENTION_NAME)
        model.eval()
        yield hook
    finally:
        _active.clear()
        hook.listener = lambda call: None
        model.set_attn_implementation(before)
        for module in training:
            module.training = True
        for parameter in gradients:
            parameter.requires_grad_(True)


def _implementations(model) -> dict[str, str]:
    """Names of attention functions: of the model ("") and of the parts that have a configuration of their own."""
    parts = {key: getattr(model.config, key) for key in model.config.sub_configs}
    found = {key: part._attn_implementation for key, part in parts.items() if part is not None}
    return {"": model.config._attn_implementation, **found}
