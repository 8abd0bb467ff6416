#!/usr/bin/env python3
"""What kvreplay.recording() adds to generate(): queries, keys and values of all layers, in float16, into a trace.

python tests/bench/recording.py --model SmolLM2-135M-Instruct.Q4_1.gguf [--prompt 1024] [--decode 128]

Runs with and without it take turns; of each pair the ratio of the CPU times (of all threads) counts, and the table has the
median of the ratios. The survey of the model and the file's end, which come once for any number of sequences, are
measured apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import kvreplay
from kvreplay.common.model_loader import open_model

TEXT = Path("/usr/share/common-licenses/GPL-3")


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Of the CPU, and on the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, type=Path, metavar="GGUF", help="SmolLM2-135M-Instruct")
    parser.add_argument("--prompt", type=int, default=1024, metavar="N", help="tokens of the prompt (default: 1024)")
    parser.add_argument("--decode", type=int, default=128, metavar="N", help="tokens to decode (default: 128)")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="runs with and without (default: 5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of PyTorch (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = open_model(options.model, None).tokenizer
    model = AutoModelForCausalLM.from_pretrained(
        options.model.parent, gguf_file=options.model.name, dtype=torch.float32, local_files_only=True
    ).eval()
    ids = torch.tensor([tokenizer(TEXT.read_text())["input_ids"][: options.prompt]])

    def generate() -> None:
        model.generate(
            ids, max_new_tokens=options.decode, min_new_tokens=options.decode, do_sample=False, pad_token_id=0
        )

    generate()  # caches are warm from here on
    ratios, plain, recorded, rest = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.pairs):
            plain.append(seconds(generate))
            begun = time.process_time()
            with kvreplay.recording(model, Path(folder, "trace.h5"), tokenizer=tokenizer, force=True):
                recorded.append(seconds(generate))  # writes the sample, too
            rest.append(time.process_time() - begun - recorded[-1][0])
            ratios.append(recorded[-1][0] / plain[-1][0])
            print(f"{plain[-1][0]:.2f} s, recorded {recorded[-1][0]:.2f} s of CPU: {100 * (ratios[-1] - 1):+.1f} %")
        size = Path(folder, "trace.h5").stat().st_size
    print(f"{options.prompt} tokens read, {options.decode} decoded, {options.threads} threads, {size / 1e6:.0f} MB")
    print(f"recording adds {100 * (statistics.median(ratios) - 1):.1f} % (median of {options.pairs} pairs, CPU time)")
    wall = statistics.median(b[1] / a[1] for a, b in zip(plain, recorded))
    print(
        f"on the wall {100 * (wall - 1):.1f} %; survey of the model and end of the file {statistics.median(rest):.2f} s of CPU"
    )


if __name__ == "__main__":
    main()
