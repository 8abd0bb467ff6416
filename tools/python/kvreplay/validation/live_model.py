"""Runs the live model over a case's tokens, with a part of its cache out of sight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..common.attention_hook import AttentionCall, AttentionHook
from ..common.errors import InputError
from ..common.prefix_cache import branch_of, read_prefix, takes_logits_to_keep
from .replay_files import Case

QUERY_TOLERANCE = 0.02  # relative: a trace in half precision, or another machine's kernels, stay far below it
KL_TOLERANCE = 1e-5  # nats: between the model's own attention and this one's over the whole cache


@dataclass
class LiveLoss:
    """Means over the scored predictions, nats."""

    kl: float  # KL(full cache || retained)
    nll_increase: float  # of the tokens that followed; NaN where none of the scored predictions has one


class LiveCase:
    """The model after the tokens before a compression point; measures what losing some of them does."""

    def __init__(self, model, hook: AttentionHook, case: Case):
        self._model, self._hook, self._case = model, hook, case
        hook.retained = {}
        hook.listener = lambda call: None
        with torch.inference_mode():
            self._prefix = read_prefix(model, case.token_ids[: case.position])
            self._full = self._read({})
        tokens = torch.tensor(case.token_ids[case.position :] + [-1]).roll(-1)[: len(case.scored)]
        scored = torch.from_numpy(case.scored)
        followed = torch.arange(len(scored))[scored] + 1 < len(scored)  # the last token's successor is not known
        self._rows, self._next = followed.nonzero()[:, 0], tokens[scored][followed]

    def check(self, trace, layers: list[int]) -> None:
        """Throws InputError unless the model sees what the trace holds, and does the same with every token retained."""
        queries: dict[int, torch.Tensor] = {}

        def listen(call: AttentionCall) -> None:
            queries[call.layer] = call.query[0].float().cpu()

        case = self._case
        self._hook.listener = listen
        whole = torch.ones((int(trace.attrs["n_kv_heads"]), case.position), dtype=torch.bool)
        with torch.inference_mode():
            again = self._read(dict.fromkeys(layers, whole))
        self._hook.listener = lambda call: None
        kl = float(_kl(self._full, again).mean())
        if not kl <= KL_TOLERANCE:
            raise InputError(f"'{case.name}': with every token retained its predictions are off by {kl:.2g} nats")
        ranges = trace[f"samples/{case.sample:04d}/query_ranges"][()].tolist()
        positions = np.concatenate([np.arange(begin, end) for begin, end in ranges])
        rows = positions >= case.position
        at = positions[rows] - case.position
        for layer in layers:
            recorded = trace[f"samples/{case.sample:04d}/layers/{layer:02d}/queries"]
            recorded = torch.from_numpy(recorded.astype("float32")[()][:, rows])
            live = queries[layer][:, at]
            if recorded.shape != live.shape:
                raise InputError(
                    f"'{case.name}': layer {layer} has queries of the shape {tuple(live.shape)}, in the trace "
                    f"{tuple(recorded.shape)}"
                )
            error = float((recorded - live).norm() / recorded.norm())
            if not error <= QUERY_TOLERANCE:
                raise InputError(
                    f"'{case.name}': the queries of layer {layer} differ from the trace's by {error:.2g} of their "
                    "norm: another model, other weights or other tokens"
                )
        if case.is_greedy:
            best = self._full[self._rows].argmax(dim=-1)
            agreeing = float((best == self._next).double().mean()) if len(best) else 1.0
            scored_decoded = case.position + int(np.flatnonzero(case.scored)[0]) + 1 >= case.decode_start
            if scored_decoded and agreeing < 0.9:
                raise InputError(f"'{case.name}': the model decodes other tokens than the trace: {agreeing:.0%} agree")

    def measure(self, retained: dict[int, np.ndarray]) -> LiveLoss:
        """`retained`: by layer, bool [n_kv_heads or n_q_heads, position]; other layers keep everything."""
        with torch.inference_mode():
            logits = self._read({layer: torch.from_numpy(kept) for layer, kept in retained.items()})
            kl = float(_kl(self._full, logits).mean())
            increase = _nll(logits, self._rows, self._next) - _nll(self._full, self._rows, self._next)
        return LiveLoss(kl, float(increase.mean()) if len(increase) else float("nan"))

    def _read(self, retained: dict[int, torch.Tensor]) -> torch.Tensor:
        """Logits at the scored predictions, float32 [n_scored, vocabulary]."""
        case = self._case
        scored = torch.from_numpy(np.flatnonzero(case.scored)).to(self._model.device)
        limits = {"logits_to_keep": scored} if takes_logits_to_keep(self._model) else {}
        ids = torch.tensor([case.token_ids[case.position :]], device=self._model.device)
        self._hook.retained = retained
        try:
            out = self._model(input_ids=ids, past_key_values=branch_of(self._prefix), use_cache=True, **limits)
        finally:
            self._hook.retained = {}
        logits = (out.logits[0] if limits else out.logits[0][scored]).float().cpu()
        if not bool(torch.isfinite(logits).all()):
            raise InputError(f"'{case.name}': the model's logits hold NaN or infinity")
        return logits


def _kl(p_logits: torch.Tensor, q_logits: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of each row, float64, nats."""
    log_p, log_q = (torch.log_softmax(logits.double(), dim=-1) for logits in (p_logits, q_logits))
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _nll(logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return -torch.log_softmax(logits[rows].double(), dim=-1)[torch.arange(len(rows)), tokens]
