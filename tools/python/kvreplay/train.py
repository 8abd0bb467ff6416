"""Learns which tokens a model's heads will look at again, from recorded traces, and writes a scorer for `kvreplay`.

    kvreplay-train TRACE... --held-out TRACE... --output lkv.h5

Each KV head gets a small network that ranks a token by its key, value and place alone: no queries, no attention
matrix. It is trained on the attention that the decoded tokens of the traces paid (LKV-T, arXiv 2605.06676, after its
published description).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import VERSION
from .common.command_line import OneLineParser, add_threads_option, positive_number
from .common.errors import InputError
from .common.file_roles import check_outputs
from .common.kvreplay_program import FILES_HELP
from .common.printable import printable_lines
from .common.program import run_program, start_torch, stop_cleanly_on_terminate

PROGRAM = "kvreplay-train"
FEWEST_PROMPTS, FEW_PROMPTS = 2, 4
N_FOLDS = 2

EPILOG = f"""\
traces: recorded with all prompt keys and values and decoded tokens (kvreplay-record); 16 prompts of 1-2k tokens of
mixed kinds are a good set (tools/make_training_traces.sh records one). All are of one model. A prompt counts once.

folds: besides the network that has seen all prompts, two are trained that have seen one half each, every second
prompt. Budgets for a learned scorer are fitted with them: each prompt is ranked by the network that has not seen it.

{FILES_HELP}
exit codes: 0 ok, 1 failure, 2 usage, 3 the traces cannot be learned from
"""


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, __doc__.split("\n\n")[0], EPILOG)
    add = parser.add_argument
    add("traces", nargs="+", type=Path, metavar="TRACE", help="traces to learn from")
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="scorer to write (docs/formats/learned.md)")
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
    add_threads_option(parser)
    add("--force", action="store_true", help="replace the output if it exists")
    add("--quiet", action="store_true", help="no progress")
    add("--version", action="version", version=f"{PROGRAM} {VERSION}")
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
    return run_program(PROGRAM, lambda: train(build_parser().parse_args(arguments)))


def command() -> int:
    """The console script."""
    stop_cleanly_on_terminate()
    return main()


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
    check_outputs([options.output], [*options.traces, *options.held_out], options.force)
    start_torch(options.threads, "cpu")
    # Only now what needs it.
    import torch

    from .learning.held_out import report
    from .learning.lkv_file import write_scorer
    from .learning.training_set import TrainingSet, open_instances

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
    creator = f"{PROGRAM} {VERSION}"
    write_scorer(options.output, data.shape, trained, folds, options.queries, recipe, creator)
    print(f"{options.output}: scorer {'lkv-q' if options.queries else 'lkv'}, {n} prompts, {len(folds)} folds")
    if n < FEW_PROMPTS:
        print(
            f"{PROGRAM}: warning: {n} prompts are few: scorers still improve at 16 prompts, below {FEW_PROMPTS} "
            "they lose to heuristics",
            file=sys.stderr,
        )
    if held is not None:
        print(printable_lines(report(trained.networks, held)))


def _train_networks(stage: str, data, steps: int, options: argparse.Namespace):
    from .learning.listwise import Schedule, train_listwise
    from .learning.lkv_file import TrainedNetworks
    from .learning.networks import make_networks
    from .learning.soft_topk import train_end_to_end

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
    sys.exit(command())
