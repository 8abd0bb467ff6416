#!/usr/bin/env python3
"""Compares the program with kvpress running in a real model, on any prompt, at any ratios; head for head.

    KVREPLAY_PROGRAM=build/kvreplay python -m tests.golden.compare_live --model MODEL.gguf --text FILE --ratios 0.1,0.6

Needs what make_golden.py needs. Records the prompt with all layers in float32 first: some 200 MB for 1,000 tokens.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import h5py
import torch

from tests.golden import golden_file, make_golden, program_sets
from tests.golden.golden_test import TIE_TOLERANCE
from tests.golden.live_presses import live_presses
from tests.golden.make_golden import PROMPT, load_model, open_model, record, run_press, write_gates
from tests.golden.set_difference import differences

LAZY_THRESHOLD = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, type=Path, help="a .gguf file or a folder")
    parser.add_argument("--text", type=Path, default=PROMPT, help="read by the model as a user's message")
    parser.add_argument("--lines", type=int, nargs=2, metavar=("FIRST", "LAST"), help="only these lines of the text")
    parser.add_argument("--ratios", default="0.1,0.6,0.93", help="shares removed [default: %(default)s]")
    parser.add_argument("--press", action="append", help="only this press (as in live_presses.py); several")
    options = parser.parse_args()
    ratios = [float(ratio) for ratio in options.ratios.split(",")]
    make_golden.RATIOS = program_sets.RATIOS = golden_file.RATIOS = ratios
    with tempfile.TemporaryDirectory(prefix="kvreplay-live-") as scratch:
        compare(options, Path(scratch))


def compare(options: argparse.Namespace, folder: Path) -> None:
    trace = folder / "live.h5"
    record_text(options, trace)
    model = load_model(open_model(options.model, None), "sdpa", "float32", "cpu")
    write_gates(folder / "gates.tsv", model.config)
    presses = {
        name: press
        for name, press in live_presses(str(folder / "gates.tsv"), LAZY_THRESHOLD).items()
        if not press.small_heads_only and not press.needs_probe and (not options.press or name in options.press)
    }
    found = program_sets.program_sets(trace, [press.policy for press in presses.values()], folder)
    with h5py.File(trace) as file:
        sample = file["samples/0000"]
        ids = sample["token_ids"][: sample.attrs["decode_start"]]
        layers = [int(layer) for layer in file.attrs["layers"]]
    print(f"{len(ids)} prompt tokens, {len(layers)} layers, removal ratios {options.ratios}", flush=True)
    all_sets = all_equal = all_tied = all_far = 0
    for name, press in presses.items():
        golden = run_press(model, ids, press, layers)
        different = differences(golden, found[press.policy])
        far = [each for each in different if each.gap > TIE_TOLERANCE]
        n_heads = next(iter(golden.retained.values())).shape[1] if press.scope == "head" else 1
        n_sets = len(layers) * len(make_golden.RATIOS) * n_heads
        print(
            f"{name}: {n_sets - len(different)} of {n_sets} sets equal, {len(different) - len(far)} differ inside ties, "
            f"{len(far)} elsewhere ({sum(each.n_tokens for each in far)} tokens)",
            flush=True,
        )
        all_sets, all_equal = all_sets + n_sets, all_equal + n_sets - len(different)
        all_tied, all_far = all_tied + len(different) - len(far), all_far + len(far)
    print(
        f"{len(presses)} presses: {all_equal} of {all_sets} sets equal, {all_tied} differ inside ties, {all_far} elsewhere"
    )


def record_text(options: argparse.Namespace, trace: Path) -> None:
    lines = options.text.read_text(encoding="utf-8").splitlines(keepends=True)
    if options.lines:
        lines = lines[options.lines[0] - 1 : options.lines[1]]
    prompts = trace.with_suffix(".jsonl")
    prompts.write_text(json.dumps({"name": "live", "messages": [{"role": "user", "content": "".join(lines)}]}) + "\n")
    arguments = ["--model", options.model, "--prompts", prompts, "--output", trace, "--dtype", "float32", "--decode", 4]
    if code := record.main([str(argument) for argument in arguments]):
        raise SystemExit(code)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
