"""Writes and reads scorers as HDF5, format kvlkv-1 (docs/formats/learned.md)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn

from ..common.errors import InputError, first_line
from ..common.inspected_file import open_inspected
from .features import FEATURES, QUERY_FEATURES
from .networks import LayerNetworks
from .trace_input import ModelShape, Prompt
from .training_set import KEEP_FIRST, KEEP_LAST

FORMAT = "kvlkv-1"
ARRAYS = ("mu", "sd", "w1", "b1", "w2", "ws", "b")
TEXT = h5py.string_dtype("utf-8")


@dataclass
class TrainedNetworks:
    """Networks for each covered layer, and the prompts that they were trained on."""

    networks: nn.ModuleList
    prompts: list[Prompt]


def write_scorer(
    path: Path,
    shape: ModelShape,
    trained: TrainedNetworks,
    folds: list[TrainedNetworks],
    with_queries: bool,
    recipe: dict,
    creator: str,
) -> None:
    """Writes under a temporary name, then renames: the file is whole or absent. The same input gives the same bytes.

    \\param folds   trained on a part of the prompts only
    \\param recipe  how it was trained, for the record
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
            write_model(file, shape, creator)
            scorer = file.create_group("scorer")
            scorer.attrs["name"] = "lkv-q" if with_queries else "lkv"
            scorer.attrs["features"] = FEATURES + ("," + QUERY_FEATURES if with_queries else "")
            scorer.attrs["keep_first"], scorer.attrs["keep_last"] = KEEP_FIRST, KEEP_LAST
            scorer.attrs["recipe"] = json.dumps(recipe, sort_keys=True)
            write_networks(scorer, trained)
            for index, fold in enumerate(folds):
                write_networks(scorer.create_group(f"fold{index}"), fold)
        descriptor = os.open(temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_model(file: h5py.File, shape: ModelShape, creator: str) -> None:
    """What a table belongs to."""
    file.attrs["format"], file.attrs["creator"] = FORMAT, creator
    file.attrs["layers"] = np.array(shape.layers, dtype=np.int64)
    for name in ("model_id", "n_layers", "n_q_heads", "n_kv_heads", "head_dim", "value_dim"):
        file.attrs[name] = getattr(shape, name)


def write_networks(group: h5py.Group, trained: TrainedNetworks) -> None:
    """Arrays [n_layers, n_kv_heads, ...] with check sums, and which prompts they were trained on."""
    for name in ARRAYS:
        values = torch.stack([getattr(network, name).detach() for network in trained.networks]).float().numpy()
        if not np.isfinite(values).all():
            raise InputError(f"training went astray: {name} is not finite; a smaller --learning-rate may help")
        group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)
    for name, field in (("trained_on", "digest"), ("trained_on_traces", "fingerprint"), ("trained_on_names", "name")):
        texts = [getattr(prompt, field) for prompt in trained.prompts]
        group.create_dataset(name, shape=(len(texts),), data=texts or None, dtype=TEXT)


def read_networks(path: Path, group: str = "scorer") -> nn.ModuleList:
    """The networks of a file, a LayerNetworks for each of its layers. For tools that apply them in PyTorch."""
    try:
        with open_inspected(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"{path}: format '{file.attrs.get('format')}', expected {FORMAT}")
            arrays = {name: torch.from_numpy(file[f"{group}/{name}"][:]) for name in ARRAYS}
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: {first_line(error)}") from error
    n_layers, n_heads, n_features, n_hidden = arrays["w1"].shape
    networks = nn.ModuleList()
    for layer in range(n_layers):
        networks.append(LayerNetworks(n_heads, n_features, torch.Generator(), n_hidden))
        networks[-1].load_state_dict({name: arrays[name][layer] for name in ARRAYS})
    return networks
