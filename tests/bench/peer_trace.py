"""What the peers need of a trace and of a replay, as PyTorch tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from peer_torch import Layer, causal_mask


@dataclass
class PeerTrace:
    """The first sample of a trace at its last compression point, and the layers in the order asked for."""

    path: Path
    point_name: str
    point: int
    n_queries: int
    token_ids: np.ndarray  # [n_tokens]
    recorded: list[int]  # layers in the file

    @classmethod
    def open(cls, path: Path) -> PeerTrace:
        with h5py.File(path) as file:
            if file.attrs["logit_softcap"] or any(g.attrs["sliding_window"] for g in file["model/layers"].values()):
                raise SystemExit(f"{path}: the peers have neither softcaps nor sliding windows")
            sample = file["samples/0000"]
            point = int(sample["compression_points/position"][-1])
            n_tokens = int(sample.attrs["n_tokens"])
            if sample["query_ranges"][()].tolist() != [[0, n_tokens]]:
                raise SystemExit(f"{path}: the peers need the queries of all tokens")
            name = sample["compression_points/name"].asstr()[-1]
            layers = [int(layer) for layer in file.attrs["layers"]]
            return cls(path, name, point, n_tokens - point, sample["token_ids"][()], layers)

    def read_layers(self, layers: list[int], retained: Path, policies: list[str]) -> list[Layer]:
        """`retained`: what `kvreplay replay --save-retained` wrote."""
        with h5py.File(self.path) as file, h5py.File(retained) as sets_file:
            group_size = int(file.attrs["n_q_heads"]) // int(file.attrs["n_kv_heads"])
            n_tokens = self.point + self.n_queries
            mask = causal_mask(self.n_queries, n_tokens, group_size)
            sets_of = sets_file[f"samples/0000/{self.point_name}/layers"]
            result = []
            for layer in layers:
                tensors = _by_number(file["samples/0000/layers"], layer)
                sets = _by_number(sets_of, layer)["retained"]
                ranked = [rank_sets(sets[policy][()]) for policy in policies]
                counts = ranked[0][1]
                if any(other != counts for _, other in ranked):
                    raise SystemExit("the policies keep different numbers of tokens: choose some with uniform budgets")
                queries = _floats(tensors["queries"]).view(-1, group_size, n_tokens, file.attrs["head_dim"])
                result.append(
                    Layer(
                        queries=queries[:, :, self.point :].flatten(1, 2).contiguous(),
                        prompt_queries=queries[:, :, : self.point].contiguous(),
                        keys=_floats(tensors["keys"]),
                        values=_floats(tensors["values"]),
                        group_size=group_size,
                        scale=float(file.attrs["softmax_scale"]),
                        point=self.point,
                        mask=mask,
                        rankings=[ranking for ranking, _ in ranked],
                        counts=counts,
                    )
                )
        return result


def rank_sets(sets: np.ndarray) -> tuple[torch.Tensor, list[int]]:
    """Of nested retained sets [n_budgets, n_heads, n], ascending: a ranking [n_heads, n] and the tokens kept."""
    counts = sets.sum(2, dtype=int)
    if (counts != counts[:, :1]).any() or (sets[1:] < sets[:-1]).any():
        raise SystemExit("not nested sets of one size per budget: give ascending budgets, policies that rank")
    ranking = np.argsort(-sets.sum(0, dtype=int), axis=1, kind="stable")
    return torch.from_numpy(ranking), [int(count) for count in counts[:, 0]]


def _by_number(group: h5py.Group, layer: int) -> h5py.Group:
    return next(group[name] for name in group if int(name) == layer)


def _floats(dataset: h5py.Dataset) -> torch.Tensor:
    return torch.from_numpy(dataset[()].astype(np.float32))
