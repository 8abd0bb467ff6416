"""Small valid files of every kind that kvreplay reads: what damaged and crafted files begin as."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

# What each seed is to the program: which commands read it.
KINDS = {
    "plain": "trace",
    "sensitivities": "trace",
    "gzip": "trace",
    "checksums": "trace",
    "newer": "trace",
    "cache": "cache",
    "results": "results",
    "retained": "retained",
    "outputs": "outputs",
    "table": "table",
    "scorer": "scorer",
    "scores": "scores",
    "replay.shard-1-of-2": "shard",
}
OTHER_SHARD = "replay.shard-2-of-2.h5"
# The oldest structures, as most recorders write them.
OLDEST = ("earliest", "v110")

SHAPE = [
    *("--layers", "2", "--q-heads", "4", "--kv-heads", "2", "--head-dim", "8", "--value-dim", "8"),
    *("--prompt", "48", "--question", "8", "--decode", "8"),
    *("--needles", "1", "--needle-length", "4", "--clusters", "4"),
]
N_TOKENS = 56  # prompt and answer
LONG_SHAPE = [
    *("--layers", "1", "--q-heads", "4", "--kv-heads", "2", "--head-dim", "64"),
    *("--prompt", "3000", "--dtype", "float32", "--last-queries-only"),
]


def make_seeds(program: Path, folder: Path) -> None:
    """Writes NAME.h5 for all of KINDS into an empty folder, and what the commands on them need besides. The same
    program makes the same bytes."""

    def run(command: str, *arguments: str) -> None:
        subprocess.run([program, command, *arguments], cwd=folder, check=True, capture_output=True)

    run("synth", "-o", "plain.h5", *SHAPE)
    run("synth", "-o", "sensitivities.h5", *SHAPE, "--sensitivity", "2", "--samples", "2", "--sliding-window", "16")
    run("synth", "-o", "long.h5", *LONG_SHAPE)
    budgets = ["-b", "0.2,0.5", "-j", "1"]
    extras = ["--save-retained", "retained.h5", "--save-outputs", "outputs.h5"]
    run("replay", "plain.h5", "-p", "snapkv:window=4,h2o,knorm", *budgets, "-o", "results.h5", *extras)
    training = [f"training-{seed}.h5" for seed in (1, 2, 3, 4)]
    for seed, name in enumerate(training, 1):
        run("synth", "-o", name, *SHAPE, "--sensitivity", "2", "--seed", str(seed))
    run("fit-budgets", *training, "--scorer", "knorm", "--least", "2", "-j", "1", "-o", "table.h5")
    for shard in ("1/2", "2/2"):
        policies = ["-p", "snapkv:window=4,h2o", *budgets]
        run("replay", "sensitivities.h5", *policies, "-o", "replay.h5", "--shard", shard, *extras)
    write_scores(folder / "scores.h5")
    write_scorer(folder / "scorer.h5", folder / "table.h5")
    save_again(folder / "plain.h5", folder / "gzip.h5", OLDEST, small_gzip_chunks)
    save_again(folder / "plain.h5", folder / "checksums.h5", OLDEST, one_chunk_with_checksum)
    save_again(folder / "plain.h5", folder / "newer.h5", ("v110", "v110"), one_growing_chunk)
    write_cache(folder / "cache.h5", folder / "plain.h5")


def write_cache(path: Path, trace: Path) -> None:
    """The trace without queries (format 1.4)."""
    save_again(trace, path, OLDEST, lambda shape: {})
    with h5py.File(path, "r+", libver=OLDEST) as file:
        file.attrs["format_version"] = "1.4"
        for sample in file["samples"].values():
            del sample["query_ranges"]
            sample["query_ranges"] = np.zeros((0, 2), np.int64)
            for layer in sample["layers"].values():
                del layer["queries"]


def write_scores(path: Path) -> None:
    """What --scores takes, for plain.h5."""
    random = np.random.default_rng(1)
    with h5py.File(path, "w", libver=OLDEST) as file:
        for layer in (0, 1):
            file[f"samples/0000/layers/{layer:02}/scores"] = random.random((2, N_TOKENS), "f4")


def write_scorer(path: Path, table: Path) -> None:
    """A learned scorer beside the head budgets of this table, with one fold."""
    random = np.random.default_rng(2)
    heads, n_features, n_hidden = (2, 2), 21, 4  # layers and KV heads; 8 of the keys, 8 of the values, 5 more
    shutil.copy(table, path)
    with h5py.File(path, "r+", libver=OLDEST) as file:
        scorer = file.create_group("scorer")
        features = "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac"
        scorer.attrs.update({"name": "lkv", "features": features, "keep_first": 4, "keep_last": 16, "recipe": "{}"})
        for group in (scorer, scorer.create_group("fold0")):
            group["trained_on"] = ["0" * 32, "1" * 32]
            shapes = {"b": (), "b1": (n_hidden,), "w1": (n_features, n_hidden), "w2": (n_hidden,)}
            for name, shape in (shapes | dict.fromkeys(("mu", "sd", "ws"), (n_features,))).items():
                group[name] = random.random((*heads, *shape), "f4") + 0.1


def small_gzip_chunks(shape: tuple[int, ...]) -> dict:
    chunks = (1, 16, shape[2]) if len(shape) == 3 else (16, shape[1])
    return {"chunks": chunks, "compression": "gzip", "shuffle": True}


def one_chunk_with_checksum(shape: tuple[int, ...]) -> dict:
    return {"chunks": shape, "fletcher32": True}


def one_growing_chunk(shape: tuple[int, ...]) -> dict:
    """Larger than the dataset, which may grow: the chunk is found by another index."""
    return {"chunks": (2 * shape[0], *shape[1:]), "maxshape": (None, *shape[1:])}


def save_again(source: Path, target: Path, libver: tuple[str, str], storage: Callable[[tuple[int, ...]], dict]) -> None:
    """The same trace with other storage of its tensors. `storage`: what h5py's create_dataset takes, for a shape"""

    def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group):
            made = new.require_group(name)
        else:
            is_tensor = item.ndim >= 2 and item.dtype.kind == "f"
            how = storage(item.shape) if is_tensor else {}
            made = new.create_dataset(name, data=item[()], dtype=item.dtype, **how)
        made.attrs.update(item.attrs)

    with h5py.File(source) as old, h5py.File(target, "w", libver=libver) as new:
        new.attrs.update(old.attrs)
        old.visititems(copy)
