"""Reads what training needs of traces (docs/formats/trace.md), one layer of one sample at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from ..common.errors import InputError, first_line
from ..common.inspected_file import open_inspected
from ..common.rotary_embedding import Rope
from ..common.trace_writer import UNKNOWN_TOKEN
from .identity import file_fingerprint, prompt_digest


@dataclass(frozen=True)
class ModelShape:
    """What traces of one model have in common."""

    model_id: str
    n_layers: int
    layers: tuple[int, ...]  # recorded, ascending
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    value_dim: int
    softmax_scale: float
    logit_softcap: float  # 0: none

    @property
    def group_size(self) -> int:
        return self.n_q_heads // self.n_kv_heads


@dataclass
class LayerTensors:
    """One layer of one sample at its prompt's end c, in float32."""

    queries: torch.Tensor  # [n_q_heads, n_queries, head_dim]: of the decoded tokens, at c, c + 1, ..., after RoPE
    keys: torch.Tensor  # [n_kv_heads, n_tokens, head_dim], after RoPE
    values: torch.Tensor  # [n_kv_heads, n_tokens, value_dim]
    positions: torch.Tensor  # int64 [n_queries], of the queries
    window_queries: torch.Tensor  # [n_q_heads, n_window, head_dim]: the last prompt queries, empty unless asked for
    sliding_window: int  # 0: full attention
    rope: Rope | None


class Prompt:
    """One sample of a trace, with its prompt's end as the compression point."""

    def __init__(self, path: Path, index: int, group: h5py.Group, fingerprint: str):
        self.path, self.index, self.fingerprint = path, index, fingerprint
        self.name = str(group.attrs["name"])
        self.length = int(group.attrs["decode_start"])
        self.n_tokens = int(group.attrs["n_tokens"])
        token_ids = group["token_ids"][: self.length]
        self.digest = prompt_digest(token_ids)
        self.has_unknown_tokens = bool((token_ids == UNKNOWN_TOKEN).any())
        ranges = np.asarray(group["query_ranges"][:], dtype=np.int64).reshape(-1, 2)
        self.query_positions = np.concatenate([np.arange(begin, end) for begin, end in ranges] or [np.zeros(0, int)])

    @property
    def where(self) -> str:
        return f"{self.path}: sample '{self.name}'"

    def require_tokens_and_queries(self) -> None:
        """Throws InputError where the trace was made of what another program left, which may lack both."""
        if not len(self.query_positions):
            raise InputError(f"{self.where}: no queries are recorded: there is no attention to learn from")
        if self.has_unknown_tokens:
            raise InputError(f"{self.where}: its token ids are not recorded, and prompts are told apart by them")

    @property
    def n_decode_queries(self) -> int:
        return int((self.query_positions >= self.length).sum())


class Trace:
    """An open trace. Throws InputError, naming file and object, for what cannot be learned from."""

    def __init__(self, path: Path):
        self.path = path
        self._file = open_inspected(path)
        try:
            self._read_header()
        except InputError:
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: not a whole trace: {first_line(error)}") from error

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def _read_header(self) -> None:
        attributes = self._file.attrs
        kind, version = str(attributes.get("format", "")), str(attributes.get("format_version", ""))
        if kind != "kvreplay-trace" or version.split(".")[0] != "1":
            raise InputError(f"{self.path}: format '{kind}' {version}, expected kvreplay-trace 1.x")
        self.shape = ModelShape(
            model_id=str(attributes["model_id"]),
            n_layers=int(attributes["n_layers"]),
            layers=tuple(int(layer) for layer in attributes["layers"]),
            n_q_heads=int(attributes["n_q_heads"]),
            n_kv_heads=int(attributes["n_kv_heads"]),
            head_dim=int(attributes["head_dim"]),
            value_dim=int(attributes["value_dim"]),
            softmax_scale=float(attributes["softmax_scale"]),
            logit_softcap=float(attributes["logit_softcap"]),
        )
        if self.shape.n_kv_heads < 1 or self.shape.n_q_heads % self.shape.n_kv_heads:
            raise InputError(f"{self.path}: {self.shape.n_q_heads} query heads on {self.shape.n_kv_heads} KV heads")
        fingerprint = file_fingerprint(self.path)
        names = sorted(self._file["samples"])
        self.prompts = [
            Prompt(self.path, index, self._file["samples"][name], fingerprint) for index, name in enumerate(names)
        ]
        self._names = names
        for prompt in self.prompts:
            prompt.require_tokens_and_queries()

    def _rope(self, layer: int) -> Rope | None:
        root, own = self._file, self._file[f"model/layers/{layer:02d}"]
        if str(root.attrs["rope_layout"]) == "none":
            return None
        inv_freq = own["rope_inv_freq"] if "rope_inv_freq" in own else root["rope_inv_freq"]
        scaling = own.attrs.get("rope_attention_scaling", root.attrs["rope_attention_scaling"])
        return Rope(str(root.attrs["rope_layout"]), torch.from_numpy(inv_freq[:]).double(), float(scaling))

    def read_layer(self, prompt: Prompt, layer: int, n_window: int = 0) -> LayerTensors:
        """\\param n_window  how many of the last prompt queries are wanted as well"""
        shape, group = self.shape, f"samples/{self._names[prompt.index]}/layers/{layer:02d}"
        wanted = prompt.query_positions >= prompt.length - n_window
        positions = torch.from_numpy(prompt.query_positions[wanted])
        first = int((~wanted).sum())
        queries = self._read(f"{group}/queries", (shape.n_q_heads, len(prompt.query_positions), shape.head_dim), first)
        n_prompt = int((positions < prompt.length).sum())
        if n_prompt != n_window:
            raise InputError(f"{prompt.where}: {n_prompt} of the last {n_window} prompt queries are recorded")
        return LayerTensors(
            queries=queries[:, n_prompt:],
            keys=self._read(f"{group}/keys", (shape.n_kv_heads, prompt.n_tokens, shape.head_dim)),
            values=self._read(f"{group}/values", (shape.n_kv_heads, prompt.n_tokens, shape.value_dim)),
            positions=positions[n_prompt:],
            window_queries=queries[:, :n_prompt],
            sliding_window=int(self._file[f"model/layers/{layer:02d}"].attrs["sliding_window"]),
            rope=self._rope(layer),
        )

    def has_output_projection(self, layer: int) -> bool:
        return f"model/layers/{layer:02d}/output_projection" in self._file

    def read_output_projection(self, layer: int) -> torch.Tensor:
        """W_O of each query head, [n_q_heads, value_dim, hidden_size]."""
        name = f"model/layers/{layer:02d}/output_projection"
        if name not in self._file:
            raise InputError(f"{self.path}: /{name} is missing: no W_O was recorded, which --end-to-end needs")
        rows = self.shape.n_q_heads * self.shape.value_dim
        return self._read(name, (rows, int(self._file.attrs["hidden_size"]))).reshape(
            self.shape.n_q_heads, self.shape.value_dim, -1
        )

    def _read(self, name: str, shape: tuple[int, ...], first_row: int = 0) -> torch.Tensor:
        """Rows from `first_row` on of every head, as float32, all finite."""
        dataset = self._file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{self.path}: /{name} is missing")
        if dataset.shape != shape:
            raise InputError(f"{self.path}: /{name} is {list(dataset.shape)}, expected {list(shape)}")
        try:
            tensor = _as_float32(dataset, first_row)
        except OSError as error:
            raise InputError(f"{self.path}: /{name}: {first_line(error)}") from error
        if not bool(torch.isfinite(tensor).all()):
            place = [int(i) for i in (~torch.isfinite(tensor)).nonzero()[0]]
            place[-2] += first_row
            raise InputError(f"{self.path}: /{name} holds {float(tensor[~torch.isfinite(tensor)][0])} at {place}")
        return tensor


def _as_float32(dataset: h5py.Dataset, first_row: int) -> torch.Tensor:
    kind = dataset.id.get_type()
    if kind.get_size() == 2 and kind.get_ebias() == 127:  # bfloat16, which NumPy lacks: take the bits as they are
        bits = np.empty(dataset.shape, dtype=np.uint16)
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=kind)
        return torch.from_numpy(bits).view(torch.bfloat16)[..., first_row:, :].float()
    return torch.from_numpy(dataset[..., first_row:, :]).float()
