"""What a press is given in place of a model's attention layer: the recorded tensors of a view, in kvpress's shapes.

A press computes queries as `module.q_proj(hidden_states)`, then rotates them by `kwargs["position_embeddings"]`. Here
the hidden states are only numbers of tokens; `q_proj` of them are the recorded queries, which RoPE has turned already,
and the rotation that is handed out turns by nothing. `k_proj` are the keys before RoPE."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..common.errors import UsageError

if TYPE_CHECKING:
    from .. import View


class NotRecorded(UsageError, AttributeError):
    """An AttributeError too, so that `hasattr` and defaults of `getattr` work as a press expects."""


class HiddenStates:
    """The hidden states of some tokens, which no trace has: a shape [1, n_tokens, width], and slices of tokens."""

    def __init__(self, press: str, tokens: range, width: int):
        self._press, self.tokens = press, tokens
        self.shape = torch.Size((1, len(tokens), width))
        self.device, self.dtype, self.ndim = torch.device("cpu"), torch.float32, 3

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def __getitem__(self, at: object) -> HiddenStates:
        whole = slice(None)
        if isinstance(at, tuple) and len(at) in (2, 3) and at[0] == whole and at[2:] in ((), (whole,)):
            if isinstance(at[1], slice):
                return HiddenStates(self._press, self.tokens[at[1]], self.shape[2])
        raise NotRecorded(f"{self._press}: needs hidden states, which no trace holds")

    @classmethod
    def __torch_function__(cls, function: object, types: object, arguments: object = (), named: object = None) -> None:
        raise NotRecorded("needs hidden states, which no trace holds")

    def __getattr__(self, name: str) -> object:
        raise NotRecorded(f"{self._press}: needs hidden states (their '{name}'), which no trace holds")


class StandIn:
    """A layer's attention module, and what a forward pass would call the press with.

    used: what was looked at: "queries", "output_projection", "rotation"
    first_query: the first token whose query was looked at
    """

    def __init__(self, view: View, press: str):
        self._view, self._press = view, press
        self.keys, self.values = shared_tensor(view.keys), shared_tensor(view.values)
        self.used: set[str] = set()
        self.first_query = view.n_tokens
        width = view.n_q_heads * view.head_dim
        self.hidden_states = HiddenStates(press, range(view.n_tokens), width)
        self.module = _Named(
            press,
            "module",
            lazily={"o_proj": self._output_projection},
            layer_idx=view.layer,
            head_dim=view.head_dim,
            num_key_value_groups=view.n_q_heads // view.n_kv_heads,
            q_proj=self._queries,
            k_proj=self._unrotated_keys,
            config=_Named(
                press,
                "module.config",
                lazily={"hidden_size": lambda: self._output_projection().weight.shape[0]},
                num_attention_heads=view.n_q_heads,
                num_key_value_heads=view.n_kv_heads,
                head_dim=view.head_dim,
            ),
        )

    def check(self) -> None:
        """Throws UsageError where the press has written into the recorded tensors, or looked at queries and did not ask
        how to rotate them: it means those before RoPE."""
        for name, tensor in (("keys", self.keys), ("values", self.values)):
            if tensor._version:
                raise UsageError(f"{self._press}: writes into the {name} that it is given, and those are the trace's")
        if "queries" in self.used and "rotation" not in self.used:
            raise NotRecorded(f"{self._press}: needs queries before RoPE, a trace holds them after it")

    def arguments(self) -> tuple:
        """Those of a press's `score`, attention weights being None."""
        return self.module, self.hidden_states, self.keys, self.values, None, _PassArguments(self)

    def rotation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [1, n_tokens, head_dim] that turn by nothing."""
        self.used.add("rotation")
        cosines = torch.ones((1, 1, 1)).expand(1, self._view.n_tokens, self._view.head_dim)
        return cosines, torch.zeros_like(cosines)

    def refusal(self, what: str) -> NotRecorded:
        return NotRecorded(f"{self._press}: needs {what}, which scorers are not given")

    def _queries(self, hidden_states: HiddenStates) -> torch.Tensor:
        """The recorded queries of tokens, [1, n, n_q_heads * head_dim]."""
        self.used.add("queries")
        tokens = self._tokens(hidden_states)
        self.first_query = min(self.first_query, tokens.start)
        n_tokens = self._view.n_tokens
        queries = shared_tensor(self._view.queries(n_tokens - tokens.start))  # of the last ones
        return queries[:, :, : len(tokens)].transpose(1, 2).flatten(2)

    def _unrotated_keys(self, hidden_states: HiddenStates) -> torch.Tensor:
        """[1, n, n_kv_heads * head_dim]"""
        tokens = self._tokens(hidden_states)
        keys = shared_tensor(self._view.unrotated_keys)
        return keys[:, :, tokens.start : tokens.stop].transpose(1, 2).flatten(2)

    def _output_projection(self) -> SimpleNamespace:
        """W_O as a linear layer holds it, [hidden_size, n_q_heads * value_dim]."""
        self.used.add("output_projection")
        projection = shared_tensor(self._view.output_projection)[0]  # [n_q_heads, value_dim, hidden_size]
        return SimpleNamespace(weight=projection.flatten(0, 1).T)

    def _tokens(self, hidden_states: object) -> range:
        if not isinstance(hidden_states, HiddenStates) or hidden_states.tokens.step != 1:
            raise self.refusal("projections of other than the layer's hidden states")
        return hidden_states.tokens


class _Named:
    """An object with some attributes; what others are asked for is said by the names of press and attribute."""

    def __init__(self, press: str, path: str, lazily: dict, **attributes: object):
        self.__dict__.update(attributes)
        self._press, self._path, self._lazily = press, path, lazily

    def __getattr__(self, name: str) -> object:
        if name in self._lazily:
            return self._lazily[name]()
        raise NotRecorded(f"{self._press}: needs {self._path}.{name}, which scorers are not given")


class _PassArguments(dict):
    """The keyword arguments of a forward pass: "position_embeddings" alone."""

    def __init__(self, stand_in: StandIn):
        super().__init__()
        self._stand_in = stand_in

    def __missing__(self, name: str) -> object:
        if name == "position_embeddings":
            return self._stand_in.rotation()
        raise self._stand_in.refusal(f"'{name}' of the forward pass")

    def get(self, name: str, default: object = None) -> object:
        return self[name]


class _Shared:
    """Memory that numpy takes for writable: torch warns of all other, and knows none that is not. Writes are refused by
    `StandIn.check`, which a press has to pass on made-up tensors before it sees a trace."""

    def __init__(self, array: np.ndarray):
        self._array = array
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = array.__array_interface__ | {"data": (address, False)}


def shared_tensor(array: np.ndarray) -> torch.Tensor:
    """The same memory as a tensor, with a batch of one in front."""
    return torch.from_numpy(np.asarray(_Shared(array)))[None]
