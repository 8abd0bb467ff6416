#!/usr/bin/env python3
"""Learns which tokens a model's heads will look at again, from recorded traces, and writes a scorer for `kvreplay`.

    python tools/train_lkv.py TRACE... --held-out TRACE... --output lkv.h5

Each KV head gets a small network that ranks a token by its key, value and place alone: no queries, no attention
matrix. It is trained on the attention that the decoded tokens of the traces paid (LKV-T, arXiv 2605.06676, after its
published description).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recorder import VERSION  # noqa: E402
from recorder.command_line import OneLineParser, positive_number  # noqa: E402
from recorder.errors import InputError, UsageError  # noqa: E402
from recorder.program import run_program  # noqa: E402

FEWEST_PROMPTS, FEW_PROMPTS = 2, 4
N_FOLDS = 2

EPILOG = """\
traces: recorded with all prompt keys and values and decoded tokens (tools/record.py); 16 prompts of 1-2k tokens of
mixed kinds are a good set (tools/make_training_traces.sh records one). All are of one model. A prompt counts once.

folds: besides the network that has seen all prompts, two are trained that have seen one half each, every second
prompt. Budgets for a learned scorer are fitted with them: each prompt is ranked by the network that has not seen it.

exit codes: 0 ok, 1 failure, 2 usage, 3 the traces cannot be learned from
"""


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="train_lkv.py",
        description=__doc__.split("\n\n")[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("traces", nargs="+", type=Path, metavar="TRACE", help="traces to learn from")
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="scorer to write (traces/LKV.md)")
    add("--held-out", nargs="+", type=Path, default=[], metavar="TRACE", help="traces to report on, not learned from")
    add("--queries", action="store_true", help="also see the attention of the last 64 prompt queries: scorer lkv-q")
    add("--end-to-end", action="store_true", help="second stage: through a soft top-k to the attention output")
    add("--no-folds", action="store_true", help="leave out the networks trained on halves")
    add(
        "--steps",
        type=positive_number,
        metavar="N",
        help="of stage 1, a prompt each (default: 10 per prompt, at least 80)",
    )
    add("--learning-rate", type=_rate, default=3e-3, metavar="X", help="of stage 1 (default: 3e-3)")
    add("--seed", type=_whole, default=1, metavar="N", help="of everything random (default: 1)")
    add("--threads", type=positive_number, metavar="N", help="CPU threads (default: torch's own choice)")
    add("--force", action="store_true", help="replace the output if it exists")
    add("--quiet", action="store_true", help="no progress")
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number below 2^31, found '{text}'")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, found '{text}'") from error
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, found '{text}'")
    return rate


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code. Every error is one line on stderr."""
    return run_program("train_lkv.py", lambda: train(build_parser().parse_args(arguments)))


class Progress:
    """Says on stderr how far a stage is, about ten times."""

    def __init__(self, stage: str, steps: int, quiet: bool):
        self._stage, self._steps, self._quiet = stage, steps, quiet
        self._begun = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        every = max(1, self._steps // 10)
        if not self._quiet and (step % every == 0 or step == self._steps):
            seconds = time.monotonic() - self._begun
            print(f"{self._stage}: step {step} of {self._steps}, loss {loss:.4f}, {seconds:.0f} s", file=sys.stderr)


def train(options: argparse.Namespace) -> None:
    if options.output.exists() and not options.output.is_file():  # a rename would replace a device or a pipe
        raise UsageError(f"{options.output} is not a regular file")
    if options.output.exists() and not options.force:
        raise UsageError(f"{options.output} exists; --force replaces it")
    if not options.output.parent.is_dir():
        raise UsageError(f"{options.output.parent} is not a directory")

    import torch

    from lkv.held_out import report
    from lkv.lkv_file import write_scorer
    from lkv.training_set import TrainingSet, open_instances

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    data = TrainingSet(open_instances(options.traces), options.queries)
    n = len(data.instances)
    if n < FEWEST_PROMPTS:
        raise InputError(f"{n} prompt to learn from, at least {FEWEST_PROMPTS} are needed")
    held = TrainingSet(open_instances(options.held_out), options.queries) if options.held_out else None
    if held is not None:
        _check_held_out(data, held)
    if options.end_to_end:
        data.require_output_projections()
    steps = options.steps or max(80, 10 * n)
    recipe = {
        "seed": options.seed,
        "steps": steps,
        "learning_rate": options.learning_rate,
        "end_to_end": options.end_to_end,
        "targets": "decode queries",
        "torch": torch.__version__,
    }
    trained = _train_networks("all prompts", data, steps, options)
    folds = []
    if not options.no_folds:
        for fold in range(N_FOLDS):
            part = data.subset(list(range(fold, n, N_FOLDS)))
            fold_steps = options.steps or max(80, 10 * len(part.instances))
            folds.append(_train_networks(f"fold {fold}", part, fold_steps, options))
    creator = f"kvreplay train_lkv.py {VERSION}"
    write_scorer(options.output, data.shape, trained, folds, options.queries, recipe, creator)
    print(f"{options.output}: scorer {'lkv-q' if options.queries else 'lkv'}, {n} prompts, {len(folds)} folds")
    if n < FEW_PROMPTS:
        print(
            f"train_lkv.py: warning: {n} prompts are few: scorers still improve at 16 prompts, below {FEW_PROMPTS} "
            "they lose to heuristics",
            file=sys.stderr,
        )
    if held is not None:
        print(report(trained.networks, held))


def _train_networks(stage: str, data, steps: int, options: argparse.Namespace):
    from lkv.listwise import Schedule, train_listwise
    from lkv.lkv_file import TrainedNetworks
    from lkv.networks import make_networks
    from lkv.soft_topk import train_end_to_end

    networks = make_networks(data.shape, data.n_features, options.seed)
    data.standardise(networks)
    schedule = Schedule(steps=steps, learning_rate=options.learning_rate)
    train_listwise(networks, data, schedule, options.seed, Progress(stage, steps, options.quiet))
    if options.end_to_end:
        more = 3 * len(data.instances)
        schedule = Schedule(steps=more, learning_rate=options.learning_rate / 3)
        progress = Progress(f"{stage}, end to end", more, options.quiet)
        train_end_to_end(networks, data, schedule, options.seed, progress)
    return TrainedNetworks(networks, data.prompts)


def _check_held_out(data, held) -> None:
    if held.shape != data.shape:
        raise InputError(
            f"{held.instances[0].trace.path} and {data.instances[0].trace.path} differ in model or recorded layers"
        )
    seen = {instance.prompt.digest: instance.prompt for instance in data.instances}
    for instance in held.instances:
        if instance.prompt.digest in seen:
            twin = seen[instance.prompt.digest]
            raise InputError(
                f"{instance.prompt.where} is held out, and {twin.where} with the same tokens is learned from"
            )


if __name__ == "__main__":
    sys.exit(main())
