#!/usr/bin/env python3
"""Damages valid files at random, where it hurts, and looks whether every command that reads them keeps its promise.

    python -m tests.hostile.damaged_files --program build/kvreplay --cases 3000 --seed 1 [--keep FOLDER]

Case I of a seed is always the same file; --case I makes that one alone. Exits with 1 when a promise was broken."""

import argparse
import collections
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from tests.hostile.promise import Run, outcome
from tests.hostile.seeds import KINDS, make_seeds

# How often each seed is damaged. Those with the most structure to the byte are worth the most.
WEIGHTS = {
    "plain": 20,
    "sensitivities": 14,
    "gzip": 12,
    "checksums": 6,
    "newer": 4,
    "cache": 6,
    "results": 13,
    "retained": 5,
    "outputs": 3,
    "table": 10,
    "scorer": 8,
    "scores": 5,
    "replay.shard-1-of-2": 10,
}
# Where counts, sizes and addresses begin to be something else.
BYTES = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255]
INTEGERS = [
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
    *(1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 8),
]


class Seed:
    """A valid file and its structure: the bytes that are no values of datasets."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        values = bytearray(len(self.content))
        for begin, end in value_ranges(path):
            values[begin:end] = b"\1" * (end - begin)
        self.structure = [at for at, is_value in enumerate(values) if not is_value]
        # Much of it is reserved and empty. What is not zero is what the library parses.
        self.live = [at for at in self.structure if self.content[at]]

    def place(self, rng: random.Random) -> int:
        return rng.choice(self.live if rng.random() < 0.8 else self.structure)


def value_ranges(path: Path) -> list[tuple[int, int]]:
    """Where the values of datasets lie in the file."""
    ranges = []

    def add(_name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.chunks:
            for index in range(item.id.get_num_chunks()):
                chunk = item.id.get_chunk_info(index)
                ranges.append((chunk.byte_offset, chunk.byte_offset + chunk.size))
        elif item.id.get_offset() is not None:
            ranges.append((item.id.get_offset(), item.id.get_offset() + item.id.get_storage_size()))

    with h5py.File(path) as file:
        file.visititems(add)
    return ranges


def places(seed: Seed, rng: random.Random) -> list[int]:
    return [seed.place(rng) for _ in range(rng.choice([1, 1, 1, 2, 4, 8]))]


def flip_bits(content: bytearray, seed: Seed, rng: random.Random) -> None:
    for at in places(seed, rng):
        content[at] ^= 1 << rng.randrange(8)


def set_bytes(content: bytearray, seed: Seed, rng: random.Random) -> None:
    for at in places(seed, rng):
        content[at] = rng.choice(BYTES) if rng.random() < 0.5 else rng.randrange(256)


def set_integers(content: bytearray, seed: Seed, rng: random.Random) -> None:
    for at in places(seed, rng):
        width = rng.choice([2, 4, 8])
        value = rng.choice(INTEGERS) + rng.choice([0, 0, 0, 1, -1, 8])
        at -= at % 2
        content[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")


def truncate(content: bytearray, seed: Seed, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def copy_block(content: bytearray, seed: Seed, rng: random.Random) -> None:
    size, to, source = rng.choice([4, 8, 16, 40, 96, 512]), seed.place(rng), seed.place(rng)
    content[to : to + size] = seed.content[source : source + size]


def fill_block(content: bytearray, seed: Seed, rng: random.Random) -> None:
    size, to = rng.choice([4, 16, 64, 512, 2048]), seed.place(rng)
    content[to : to + size] = bytes([rng.choice([0, 255, rng.randrange(256)])]) * size


def scatter_bytes(content: bytearray, seed: Seed, rng: random.Random) -> None:
    """Anywhere: values too."""
    for _ in range(rng.choice([1, 8, 64])):
        content[rng.randrange(len(content))] = rng.randrange(256)


DAMAGES = {
    flip_bits: 30,
    set_bytes: 25,
    set_integers: 25,
    truncate: 5,
    copy_block: 5,
    fill_block: 5,
    scatter_bytes: 5,
}


@dataclass(frozen=True)
class DamagedFile:
    case: int
    seed_file: str
    damage: str
    content: bytes

    def __str__(self) -> str:
        return f"case {self.case}, {self.seed_file}, {self.damage}"


def damaged_file(seeds: dict[str, Seed], seed: int, case: int) -> DamagedFile:
    """Always the same for the same seed files."""
    rng = random.Random(f"{seed}/{case}")
    (name,) = rng.choices([*WEIGHTS], [*WEIGHTS.values()])
    (damage,) = rng.choices([*DAMAGES], [*DAMAGES.values()])
    content = bytearray(seeds[name].content)
    damage(content, seeds[name], rng)
    return DamagedFile(case, name, damage.__name__, bytes(content))


def examine(
    program: Path, seed_folder: Path, seed: int, cases: Iterable[int], folder: Path
) -> Iterator[tuple[DamagedFile, list[tuple[Run, list[str]]]]]:
    """Damaged files, each with what the commands did with it. Works in `folder`, an empty one."""
    seeds = {name: Seed(seed_folder / f"{name}.h5") for name in WEIGHTS}
    for case in cases:
        damaged = damaged_file(seeds, seed, case)
        file = folder / "damaged.h5"
        file.write_bytes(damaged.content)
        yield damaged, outcome(program, KINDS[damaged.seed_file], file, seed_folder, folder)


class Tally:
    """Counts of what happened, by seed file and command."""

    def __init__(self) -> None:
        self.files = collections.Counter()
        self.exits = collections.defaultdict(collections.Counter)
        self.broken = collections.Counter()
        self.broken_files = collections.defaultdict(set)

    def add(self, damaged: DamagedFile, runs: list[tuple[Run, list[str]]]) -> None:
        self.files[damaged.seed_file] += 1
        for run, broken in runs:
            self.exits[damaged.seed_file, run.command]["late" if run.late else run.exit_code] += 1
            for promise in broken:
                self.broken[promise] += 1
                self.broken_files[promise].add(damaged.case)

    def lines(self) -> Iterator[str]:
        for (name, command), exits in sorted(self.exits.items()):
            counts = ", ".join(f"{n} exit {code}" for code, n in sorted(exits.items(), key=str))
            yield f"{name:20} {command:16} {self.files[name]:5} files: {counts}"
        n_files = sum(self.files.values())
        n_broken = len(set().union(*self.broken_files.values()))
        n_runs = sum(sum(exits.values()) for exits in self.exits.values())
        yield f"{n_files} files, {n_runs} runs, {n_broken} files with which a promise was broken"
        for promise, n in self.broken.most_common():
            yield f"  {promise:36} {n:5} runs of {len(self.broken_files[promise]):5} files"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", type=Path, required=True, help="kvreplay")
    parser.add_argument("--cases", type=int, default=3000, metavar="N")
    parser.add_argument("--case", type=int, metavar="I", help="this one alone, instead of N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the files with which a promise was broken")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    program = options.program.resolve()
    cases = range(options.cases) if options.case is None else [options.case]
    tally, begun = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as seeds, tempfile.TemporaryDirectory() as folder:
        make_seeds(program, Path(seeds))
        for damaged, runs in examine(program, Path(seeds), options.seed, cases, Path(folder)):
            tally.add(damaged, runs)
            for run, broken in runs:
                if broken:
                    print(f"{damaged}: {', '.join(broken)}\n    {run}", flush=True)
            if options.keep and any(broken for _, broken in runs):
                (options.keep / f"{options.seed}-{damaged.case}-{damaged.seed_file}.h5").write_bytes(damaged.content)
    print(*tally.lines(), f"{time.monotonic() - begun:.0f} s", sep="\n")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
