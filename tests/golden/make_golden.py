#!/usr/bin/env python3
"""Makes the golden data again: two small traces, and what kvpress keeps of them. See README.md in this folder.

python -m tests.golden.make_golden --smollm2 SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import torch

from kvreplay.commands import record
from kvreplay.common.model_loader import load_model, open_model
from tests.golden.golden_file import RATIOS, Golden, write_goldens
from tests.golden.live_presses import PROBE_CHUNK, live_presses
from tests.golden.press_run import PressRun
from tests.support.python.tiny_models import save_tiny_model

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SEED = 20
N_DECODED = 6
# 4 query heads and 2 KV heads of 16, 3 layers; positions for the prompt and for what the probe repeats; no padding token,
# whose zeros would tie with much.
RANDOM_SHAPE = dict(hidden_size=64, intermediate_size=96, max_position_embeddings=1024, pad_token_id=None)
N_RANDOM_PROMPT = 403  # no multiple of any window, chunk or partition
PROMPT = ROOT / "traces" / "examples" / "cc0-1.0.txt"
SMOLLM2_LINES = [14, 40]
SMOLLM2_LAYERS = "0,11,29"
# Between the shares of attention that the layers of the model pay to the first and newest tokens.
LAZY_THRESHOLD = {"random": 0.3, "smollm2": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--smollm2", required=True, type=Path, metavar="GGUF", help="SmolLM2-135M-Instruct")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = save_tiny_model(folder / "random", "llama", **RANDOM_SHAPE)
        probes = ["--probes", "repeat-context", "--probe-chunk", PROBE_CHUNK]
        make("random", model, {"name": "chat", "messages": random_chat(model)}, probes, folder)
        licence = {"name": "licence", "text": [{"text_file": str(PROMPT), "lines": SMOLLM2_LINES}]}
        make("smollm2", options.smollm2, licence, ["--layers", SMOLLM2_LAYERS], folder)


def random_chat(model: Path) -> list[dict]:
    """A message with as much of a text as makes N_RANDOM_PROMPT tokens of the tiny tokenizer with the chat template."""
    tokenizer = open_model(model, None).tokenizer
    text = PROMPT.read_text(encoding="utf-8")
    for length in range(1, len(text)):
        chat = [{"role": "user", "content": text[:length]}]
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if len(tokenizer(rendered, add_special_tokens=False)["input_ids"]) == N_RANDOM_PROMPT:
            return chat
    raise RuntimeError(f"{PROMPT} is too short")


def make(name: str, model_path: Path, prompt: dict, options: list, scratch: Path) -> None:
    """Writes NAME.h5, the trace; NAME-gates.tsv, the gates of its heads; NAME-kvpress.h5, what kvpress keeps.

    `options`: of the recorder.
    """
    trace = FOLDER / f"{name}.h5"
    record_trace(model_path, prompt, options, trace, scratch / f"{name}.jsonl")
    model = load_model(open_model(model_path, None), "sdpa", "float32", "cpu")
    write_gates(FOLDER / f"{name}-gates.tsv", model.config)
    with h5py.File(trace) as file:
        sample = file["samples/0000"]
        ids = sample["token_ids"][: sample.attrs["decode_start"]]
        recorded = [int(layer) for layer in file.attrs["layers"]]
        has_probe = "probes" in sample
    goldens = {}
    for press_name, press in live_presses(f"{name}-gates.tsv", LAZY_THRESHOLD[name]).items():
        if press.small_heads_only and model.config.head_dim > 48 or press.needs_probe and not has_probe:
            continue
        goldens[press_name] = run_press(model, ids, press, recorded)
        kept = [f"{sets.mean():.2f}" for sets in goldens[press_name].retained.values()]
        print(f"{name}: {press_name}: kept per layer {' '.join(kept)}")
    packages = {package: version(package) for package in ("kvpress", "transformers", "torch")}
    write_goldens(FOLDER / f"{name}-kvpress.h5", {"trace": trace.name, **packages}, goldens)


def record_trace(model: Path, prompt: dict, options: list, trace: Path, prompts: Path) -> None:
    prompts.write_text(json.dumps(prompt) + "\n", encoding="utf-8")
    arguments = ["--model", model, "--model-id", trace.stem, "--prompts", prompts, "--output", trace, "--force"]
    arguments += ["--allow-text-files-anywhere", "--dtype", "float32", "--gzip", "--decode", N_DECODED, *options]
    if code := record.main([str(argument) for argument in arguments]):
        sys.exit(code)


def write_gates(path: Path, config) -> None:
    """Random gates [n_layers, n_kv_heads] for DuoAttention."""
    shape = (config.num_hidden_layers, config.num_key_value_heads)
    np.savetxt(path, np.random.default_rng(SEED).random(shape), fmt="%.6f", delimiter="\t")


def run_press(model, ids: np.ndarray, press, layers: list[int]) -> Golden:
    """What the press keeps in the recorded layers, at each of RATIOS."""
    model.set_attn_implementation(press.attention)
    runs = []
    for ratio in RATIOS:
        torch.manual_seed(SEED)  # some presses draw
        runs.append(PressRun(model, ids, press.make(ratio)))
    golden = Golden(repr(press.make(RATIOS[0])), press.policy, press.scope)
    for layer in layers:
        golden.retained[layer] = np.stack([run.retained[layer] for run in runs])
        for kind in ("scores", "plain"):
            if layer in getattr(runs[0], kind):
                getattr(golden, kind)[layer] = np.stack([getattr(run, kind)[layer] for run in runs])
    return golden


if __name__ == "__main__":
    main()
