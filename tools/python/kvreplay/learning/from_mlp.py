"""Makes a scorer file (docs/formats/learned.md) of per-head MLPs trained elsewhere, such as KVP's (arXiv 2602.10238).

    python -m kvreplay.learning.from_mlp weights.npz --trace TRACE --inputs k_unrot,v,frac --output kvp.h5

The archive holds, for n_layers x n_kv_heads networks of two layers with SiLU between them:
    w1 [n_layers, n_kv_heads, n_inputs, n_hidden]   b1 [n_layers, n_kv_heads, n_hidden]
    w2 [n_layers, n_kv_heads, n_hidden]             b2 [n_layers, n_kv_heads]   (optional)
--inputs names what the inputs are, in their order: any of k_unrot, v, lnk, lnv, ln1pi, ln1pr, frac, each once. The
trace says which model it is. Other activations, more layers, keys after RoPE or other encodings of positions have no
such form.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import VERSION
from ..common.command_line import OneLineParser
from ..common.errors import InputError, first_line
from ..common.file_roles import check_outputs
from ..common.kvreplay_program import FILES_HELP
from ..common.program import run_program
from .features import FEATURES, n_features
from .lkv_file import TrainedNetworks, write_scorer
from .networks import LayerNetworks
from .trace_input import ModelShape, Trace

PROGRAM = "python -m kvreplay.learning.from_mlp"


def feature_columns(inputs: list[str], shape: ModelShape) -> list[int]:
    """Where each input stands among the features."""
    names = FEATURES.split(",")
    if unknown := [name for name in inputs if name not in names] or [n for n in inputs if inputs.count(n) > 1]:
        raise InputError(f"--inputs: '{unknown[0]}' is unknown or given twice; known are {FEATURES}")
    widths = {"k_unrot": shape.head_dim, "v": shape.value_dim}
    begins, at = {}, 0
    for name in names:
        begins[name] = at
        at += widths.get(name, 1)
    return [begins[name] + offset for name in inputs for offset in range(widths.get(name, 1))]


def convert(weights, inputs: list[str], shape: ModelShape) -> nn.ModuleList:
    """\\param weights  mapping of the arrays named above"""
    columns = feature_columns(inputs, shape)
    heads = (len(shape.layers), shape.n_kv_heads)
    if "w1" not in weights or "w2" not in weights or "b1" not in weights:
        raise InputError(f"the archive holds {', '.join(sorted(weights))}; w1, b1 and w2 are wanted")
    n_hidden = weights["w1"].shape[-1]
    expected = {"w1": (*heads, len(columns), n_hidden), "b1": (*heads, n_hidden), "w2": (*heads, n_hidden), "b2": heads}
    if unknown := set(weights) - set(expected):
        raise InputError(
            f"the archive holds {', '.join(sorted(unknown))}, which has no place in networks of two layers"
        )
    for name in weights:
        if weights[name].shape != expected[name]:
            raise InputError(f"{name} is {list(weights[name].shape)}, expected {list(expected[name])}")
        if not np.isfinite(weights[name]).all():
            raise InputError(f"{name} holds NaN or infinity")
    networks = nn.ModuleList()
    for layer in range(heads[0]):
        network = LayerNetworks(heads[1], n_features(shape, False), torch.Generator(), n_hidden)
        network.w1.data.zero_()
        network.w1.data[:, columns] = torch.from_numpy(weights["w1"][layer]).float()
        network.b1.data = torch.from_numpy(weights["b1"][layer]).float()
        network.w2.data = torch.from_numpy(weights["w2"][layer]).float()
        if "b2" in weights:
            network.b.data = torch.from_numpy(weights["b2"][layer]).float()
        networks.append(network)
    return networks


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive. Throws InputError for anything else, and for pickled objects, which are not loaded."""
    try:
        with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # many types, for what is no archive, or damaged
        raise InputError(f"{path}: not a readable .npz archive: {first_line(error)}") from error
    if others := [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]:
        raise InputError(f"{path}: '{others[0]}' in it is no array")
    return arrays


def write_file(options: argparse.Namespace) -> None:
    check_outputs([options.output], [options.weights, options.trace], options.force)
    weights = read_archive(options.weights)
    with Trace(options.trace) as trace:
        networks = convert(weights, options.inputs.split(","), trace.shape)
        trained = TrainedNetworks(networks, [])
        write_scorer(options.output, trace.shape, trained, [], False, {}, f"kvreplay.learning.from_mlp {VERSION}")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__, FILES_HELP)
    parser.add_argument("weights", type=Path, help="the .npz archive")
    parser.add_argument("--trace", required=True, type=Path, help="any trace of the model, with all its layers")
    parser.add_argument("--inputs", required=True, help="what the inputs are, in their order")
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_program(PROGRAM, lambda: write_file(build_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
