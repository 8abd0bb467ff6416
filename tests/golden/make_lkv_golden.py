#!/usr/bin/env python3
"""Makes *-lkv.h5 and *-lkv-q.h5 again: random networks for the golden traces, and PyTorch's scores by them.

    python -m tests.golden.make_lkv_golden

Each is a file of format kvlkv-1 (docs/formats/learned.md) that also holds scores as `kvreplay replay --scores` reads them.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import torch
from torch import nn

from kvreplay.learning.lkv_file import TrainedNetworks, write_scorer
from kvreplay.learning.networks import LayerNetworks
from kvreplay.learning.training_set import TrainingSet, open_instances

FOLDER = Path(__file__).resolve().parent
N_HIDDEN = 5


def random_networks(data: TrainingSet, generator: torch.Generator) -> nn.ModuleList:
    """Networks in which no number is 0, standardised by the trace."""
    networks = nn.ModuleList(
        LayerNetworks(data.shape.n_kv_heads, data.n_features, generator, N_HIDDEN) for _ in data.shape.layers
    )
    data.standardise(networks)
    for network in networks:
        for parameter in (network.b1, network.w2, network.ws):
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    return networks


def main() -> None:
    for trace, scorer in (("random", "lkv"), ("random", "lkv-q"), ("smollm2", "lkv")):
        with_queries = scorer == "lkv-q"
        data = TrainingSet(open_instances([FOLDER / f"{trace}.h5"]), with_queries)
        networks = random_networks(data, torch.Generator().manual_seed(7))
        path = FOLDER / f"{trace}-{scorer}.h5"
        trained = TrainedNetworks(networks, data.prompts)
        write_scorer(path, data.shape, trained, [], with_queries, {}, "make_lkv_golden.py")
        with h5py.File(path, "a") as file, torch.no_grad():
            for network, layer in zip(networks, data.shape.layers):
                scores = network(data.features(0, layer)).numpy()
                file.create_dataset(f"samples/0000/layers/{layer:02d}/scores", data=scores)


if __name__ == "__main__":
    main()
