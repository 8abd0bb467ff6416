"""Learns a scorer from traces (LKV-T, arXiv 2605.06676, after its published description)."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator

from .. import VERSION
from ..common.errors import InputError
from ..common.file_roles import check_outputs
from ..common.printable import printable_lines
from ..common.program import start_torch
from .command_line import PROGRAM

FEWEST_PROMPTS, FEW_PROMPTS = 2, 4
N_FOLDS = 2


class Teller:
    """What the command says: progress and warnings on stderr, results on stdout."""

    def __init__(self, quiet: bool):
        self._quiet = quiet

    def progress(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr)

    def say(self, text: str) -> None:
        print(printable_lines(text))

    def warn(self, text: str) -> None:
        print(f"{PROGRAM}: warning: {text}", file=sys.stderr)


class StageProgress:
    """Says how far a stage is, about ten times."""

    def __init__(self, stage: str, steps: int, teller: Teller):
        self._stage, self._steps, self._teller = stage, steps, teller
        self._begun = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        every = max(1, self._steps // 10)
        if step % every == 0 or step == self._steps:
            seconds = time.monotonic() - self._begun
            self._teller.progress(f"{self._stage}: step {step} of {self._steps}, loss {loss:.4f}, {seconds:.0f} s")


def train(options: argparse.Namespace) -> None:
    """As the command does."""
    check_files(options)
    start_torch(options.threads, "cpu")
    learn(options, Teller(options.quiet))


def check_files(options: argparse.Namespace) -> None:
    check_outputs([options.output], [*options.traces, *options.held_out], options.force)


def learn(options: argparse.Namespace, teller: Teller) -> None:
    """Trains and writes the scorer. `options`: of the command."""
    with deterministic():
        _learn(options, teller)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Meanwhile PyTorch takes no algorithm whose results vary."""
    import torch

    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


def _learn(options: argparse.Namespace, teller: Teller) -> None:
    import torch

    from .held_out import report
    from .lkv_file import write_scorer
    from .training_set import TrainingSet, open_instances

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
    trained = _train_networks("all prompts", data, steps, options, teller)
    folds = []
    if not options.no_folds:
        for fold in range(N_FOLDS):
            part = data.subset(list(range(fold, n, N_FOLDS)))
            fold_steps = options.steps or max(80, 10 * len(part.instances))
            folds.append(_train_networks(f"fold {fold}", part, fold_steps, options, teller))
    creator = f"{PROGRAM} {VERSION}"
    write_scorer(options.output, data.shape, trained, folds, options.queries, recipe, creator)
    teller.say(f"{options.output}: scorer {'lkv-q' if options.queries else 'lkv'}, {n} prompts, {len(folds)} folds")
    if n < FEW_PROMPTS:
        teller.warn(
            f"{n} prompts are few: scorers still improve at 16 prompts, below {FEW_PROMPTS} they lose to heuristics"
        )
    if held is not None:
        teller.say(report(trained.networks, held))


def _train_networks(stage: str, data, steps: int, options: argparse.Namespace, teller: Teller):
    from .listwise import Schedule, train_listwise
    from .lkv_file import TrainedNetworks
    from .networks import make_networks
    from .soft_topk import train_end_to_end

    networks = make_networks(data.shape, data.n_features, options.seed)
    data.standardise(networks)
    schedule = Schedule(steps=steps, learning_rate=options.learning_rate)
    train_listwise(networks, data, schedule, options.seed, StageProgress(stage, steps, teller))
    if options.end_to_end:
        more = 3 * len(data.instances)
        schedule = Schedule(steps=more, learning_rate=options.learning_rate / 3)
        progress = StageProgress(f"{stage}, end to end", more, teller)
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
