#!/usr/bin/env python3
"""Times kvreplay and its peers in alternating rounds on recorded traces, after checking that they agree.

Called by peers.sh. The retained sets come from kvreplay and are given to the PyTorch peers for nothing: they pay for
the attention only, as the engine does beside them, with everything in memory. The command line's time holds all that it
does: reading, scoring, attention, writing; it takes all layers of the trace. On both sides a layer has all threads,
except in the rows that say `side by side`, where each thread of kvreplay has a layer of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch
from peer_torch import Layer, column_sums, nested_budgets, one_by_one
from peer_trace import PeerTrace

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER.parents[1] / "build"
POLICIES = "snapkv,tova,observed-attention,knorm,keydiff,streaming-llm"  # all in kvpress, uniform budgets
BUDGETS = "0.02:0.9:16"  # all of them evict
TOLERANCE = 1e-4
BUSY = 0.7  # load average, before anything is timed
REST = 0.2  # seconds before each timing: threads of the one before go to sleep


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    load = os.getloadavg()[0]
    report = {"machine": processor(), "load": load, "threads": options.threads, "torch": torch.__version__}
    report["traces"] = []
    if load > BUSY:
        # PyTorch's threads wait for each other in every step, so that it suffers more than its share.
        print(f"the machine is busy (load {load:.1f}): these numbers will flatter kvreplay", file=sys.stderr)
    print(f"{report['machine']}, {options.threads} threads, PyTorch {torch.__version__}, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="kvreplay-peers-") as scratch:
        for number, path in enumerate(options.traces):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            report["traces"].append(compare_on(path, folder, options))
            options.output.parent.mkdir(exist_ok=True)
            options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("traces", nargs="+", type=Path, help="traces with the queries of all tokens")
    add("--layers", default="all", help="timed in memory, as 0,9,19,29; best a multiple of the threads (default: all)")
    add("--policies", default=POLICIES, help="uniform budgets, nested sets (default: %(default)s)")
    add("--budgets", default=BUDGETS, help="as for kvreplay, ascending (default: %(default)s)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side (default: %(default)s)")
    add("--rounds", type=int, default=7, help="default: %(default)s")
    add("--model", type=Path, help="the traces' model, to time kvpress on the first trace")
    add("--kvpress-rounds", type=int, default=2, help="of four runs each (default: %(default)s)")
    add("--output", type=Path, default=BUILD / "peers.json", help="default: %(default)s")
    return parser.parse_args()


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def compare_on(path: Path, folder: Path, options: argparse.Namespace) -> dict:
    trace = PeerTrace.open(path)
    layers = trace.recorded if options.layers == "all" else [int(layer) for layer in options.layers.split(",")]
    layers.sort()
    policies = options.policies.split(",")
    command_line(trace, folder, options, "--save-retained", folder / "sets.h5")
    data = trace.read_layers(layers, folder / "sets.h5", policies)
    n_budgets = len(data[0].counts)
    report = {
        "trace": path.name,
        "point": trace.point,
        "queries": trace.n_queries,
        "layers": layers,
        "policies": policies,
        "budgets": options.budgets,
        "kept": data[0].counts,
    }
    print(
        f"\n{path.name}: {trace.point} tokens up for eviction, {trace.n_queries} evaluation queries, {len(policies)} "
        f"policies x {n_budgets} budgets, layers {','.join(map(str, layers))}",
        flush=True,
    )
    with Engine(trace, layers, folder, options) as engine:
        report["deviations"] = check(trace, layers, data, folder)
        times = time_rounds(trace, data, engine, folder, options)
    report["rows"] = [
        row("kvreplay: attention", times, "engine"),
        row("PyTorch, one by one", times, "one_by_one", "engine"),
        row("PyTorch, nested budgets", times, "nested", "engine"),
        row("kvreplay: attention, layers side by side", times, "engine_side_by_side"),
        row("PyTorch, one by one", times, "one_by_one", "engine_side_by_side"),
        row("PyTorch, nested budgets", times, "nested", "engine_side_by_side"),
        row("kvreplay: command line, all in all", times, "command_line"),
        row("PyTorch, one by one", times, "one_by_one", "command_line"),
        row("PyTorch, nested budgets", times, "nested", "command_line"),
        row("kvreplay: column sums", times, "engine_sums"),
        row("PyTorch, column sums", times, "column_sums", "engine_sums"),
        row("kvreplay: column sums, layers side by side", times, "engine_sums_side_by_side"),
        row("PyTorch, column sums", times, "column_sums", "engine_sums_side_by_side"),
    ]
    report["gflops"] = {
        name: median(times[name]) for name in ("kvreplay_sgemm_1024", "torch_sgemm_1024", "torch_sgemm_2048")
    }
    print_rows(report["rows"], "ms per layer")
    print(", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in report["gflops"].items()), flush=True)
    if options.model and path == options.traces[0]:
        report["kvpress"] = compare_kvpress(trace, folder, options, len(policies) * n_budgets)
    return report


def command_line(trace: PeerTrace, folder: Path, options: argparse.Namespace, *more) -> float:
    """Milliseconds that a whole replay takes per layer; of all layers of the trace. Leaves FOLDER/results.h5."""
    command = [BUILD / "kvreplay", "replay", trace.path, "-o", folder / "results.h5", "--force", "--quiet"]
    command += ["-p", options.policies, "-b", options.budgets, "-m", "output_error", "-j", options.threads]
    command += ["--compression-point", trace.point_name, *more]
    begun = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True)
    return (time.perf_counter() - begun) * 1e3 / len(trace.recorded)


class Engine:
    """kvreplay_peer_bench, which holds the layers in memory and waits for something to time."""

    def __init__(self, trace: PeerTrace, layers: list[int], folder: Path, options: argparse.Namespace):
        command = [BUILD / "kvreplay_peer_bench", trace.path, trace.point_name, ",".join(map(str, layers))]
        command += [options.threads, options.budgets, folder, *options.policies.split(",")]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Engine:
        if self.process.stdout.readline().strip() != "ready":
            sys.exit("kvreplay_peer_bench failed")
        return self

    def __exit__(self, *error) -> None:
        self.process.stdin.close()
        self.process.wait()

    def ask(self, request: str) -> float:
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"kvreplay_peer_bench ended instead of answering '{request}'")
        return float(answer)


def check(trace: PeerTrace, layers: list[int], data: list[Layer], folder: Path) -> dict[str, float]:
    """The largest difference of any output error from that of kvreplay's results, and, relative, of any column sum from
    the engine's. Ends the program where one is more than TOLERANCE."""
    with h5py.File(folder / "results.h5") as file:
        rows = [list(file["layer"]).index(layer) for layer in layers]
        truth = file["output_error"][0][rows]  # [layer, q_head, policy, budget]
    shape = truth.shape
    numerator = np.fromfile(folder / "errors").reshape(shape)
    denominator = np.fromfile(folder / "norms").reshape(shape[:2])
    sums = np.fromfile(folder / "sums", np.float32).reshape(*shape[:2], trace.point)
    deviations = {"engine": np.abs(np.sqrt(numerator / denominator[:, :, None, None]) - truth).max()}
    for name, method in (("one_by_one", one_by_one), ("nested", nested_budgets)):
        found = [output_errors(*method(layer)) for layer in data]
        deviations[name] = np.abs(np.stack(found) - truth).max()
    found = np.stack([column_sums(layer).numpy() for layer in data])
    deviations["column_sums"] = np.abs(found / sums - 1).max()
    deviations = {name: float(value) for name, value in deviations.items()}
    print("largest deviations: " + ", ".join(f"{name} {value:.1e}" for name, value in deviations.items()), flush=True)
    if not all(value <= TOLERANCE for value in deviations.values()):
        sys.exit(f"the peers do not agree to {TOLERANCE}")
    return deviations


def output_errors(errors: torch.Tensor, norms: torch.Tensor) -> np.ndarray:
    """[n_q_heads, n_policies, n_budgets]"""
    return (errors.double() / norms.double()).sqrt().permute(2, 0, 1).numpy()


def time_rounds(
    trace: PeerTrace, data: list[Layer], engine: Engine, folder: Path, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Each thing once a round, milliseconds a layer: what disturbs the machine disturbs all of them."""
    things = {
        "engine": lambda: engine.ask("replay"),
        "one_by_one": lambda: time_layers(one_by_one, data),
        "engine_side_by_side": lambda: engine.ask("replay side-by-side"),
        "nested": lambda: time_layers(nested_budgets, data),
        "engine_sums": lambda: engine.ask("sums"),
        "column_sums": lambda: time_layers(column_sums, data),
        "engine_sums_side_by_side": lambda: engine.ask("sums side-by-side"),
        "kvreplay_sgemm_1024": lambda: engine.ask("sgemm"),
        "torch_sgemm_1024": lambda: torch_sgemm(1024),
        "torch_sgemm_2048": lambda: torch_sgemm(2048),
        "command_line": lambda: command_line(trace, folder, options),
    }
    times: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(options.rounds):
        for name, thing in things.items():
            time.sleep(REST)
            times[name].append(thing())
    return times


def time_layers(method, data: list[Layer]) -> float:
    begun = time.perf_counter()
    for layer in data:
        method(layer)
    return (time.perf_counter() - begun) * 1e3 / len(data)


def torch_sgemm(n: int) -> float:
    a, b, c = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
    torch.mm(a, b, out=c)
    repetitions = 8
    begun = time.perf_counter()
    for _ in range(repetitions):
        torch.mm(a, b, out=c)
    return 2e-9 * n**3 * repetitions / (time.perf_counter() - begun)


def row(label: str, times: dict[str, list[float]], name: str, against: str | None = None) -> dict:
    """Medians over the rounds; `ratio`: how many times as long as `against`, of each round, with the extremes."""
    values = times[name]
    result = {"label": label, "name": name, "time": median(values), "time_range": [min(values), max(values)]}
    if against:
        ratios = [value / base for value, base in zip(values, times[against])]
        result |= {"against": against, "ratio": median(ratios), "ratio_range": [min(ratios), max(ratios)]}
    return result


def print_rows(rows: list[dict], unit: str) -> None:
    for each in rows:
        low, high = each["time_range"]
        line = f"{each['label']:44} {each['time']:10.2f} {unit} ({low:.2f} to {high:.2f})"
        if "ratio" in each:
            low, high = each["ratio_range"]
            line = f"  {line}; {each['ratio']:.2f} times ({low:.2f} to {high:.2f})"
        print(line)


def compare_kvpress(trace: PeerTrace, folder: Path, options: argparse.Namespace, n_evaluations: int) -> dict:
    """All policies and budgets of all layers: ours as it is, kvpress's as so many times the median of a few runs."""
    from peer_kvpress import KvpressPeer

    peer = KvpressPeer(options.model, trace.token_ids, trace.point)
    times: dict[str, list[float]] = {"command_line": [], "kvpress": []}
    runs = []
    for _ in range(options.kvpress_rounds):
        for name, ratio in peer.runs():
            times["command_line"].append(command_line(trace, folder, options) * len(trace.recorded) / 1e3)
            seconds, loss = peer.time(name, ratio)
            times["kvpress"].append(seconds * n_evaluations)
            runs.append({"press": name, "ratio": ratio, "seconds": seconds, "loss": loss})
            print(f"kvpress, {name} at ratio {ratio}: {seconds:.1f} s, loss {loss:.3f} nats", flush=True)
    rows = [
        row("kvreplay: command line, all layers", times, "command_line"),
        row(f"kvpress, {n_evaluations} runs like these", times, "kvpress", "command_line"),
    ]
    print_rows(rows, "s")
    return {"runs": runs, "evaluations": n_evaluations, "rows": rows}


if __name__ == "__main__":
    main()
