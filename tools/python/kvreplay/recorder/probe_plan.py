"""Decides what a probe asks before the model runs: KVzip's request to repeat the context, chunk by chunk.

KVzip (https://arxiv.org/abs/2505.23416) scores a cache by how the model looks at it while it repeats the context. The
wording, the chunks and what frames them are those of kvpress 0.5's KVzipPress, so that its scores come out of a trace:

* A chunk's pass reads instruction, suffix, chunk; from the second chunk on the instruction ends with the last tokens of
  the chunk before. Each piece is tokenized by itself.
* In a chat, the suffix is what the template puts between a user's message and the answer. The context begins behind
  what the template puts before the first message; those tokens are in no chunk, and so in no one's score.
* A plain text is all context, its BOS token too, and the suffix is a line break: as for a model without a template.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..common.prompt_tokens import answer_opening
from .sample_plan import SamplePlan

FIRST_INSTRUCTION = "\n\nRepeat the previous context exactly."
NEXT_INSTRUCTION = "\n\nRepeat the part of the previous context exactly, starting with"
N_LEAD_IN = 8  # tokens of the chunk before that end NEXT_INSTRUCTION
DEFAULT_CHUNK = 2048
TEXT_SUFFIX = "\n"


@dataclass(frozen=True)
class ProbeWording:
    first: list[int]  # token ids
    next: list[int]
    suffix: list[int]


@dataclass(frozen=True)
class ProbePass:
    """One forward pass after the context; all ranges are [begin, end)."""

    instruction: list[int]
    lead_in: tuple[int, int]  # positions whose tokens end the instruction
    suffix: list[int]
    context: tuple[int, int]  # positions that are repeated
    rows: tuple[int, int]  # of the probe's tensors

    def ids(self, token_ids: list[int]) -> list[int]:
        """`token_ids`: of the sample."""
        return self.instruction + token_ids[slice(*self.lead_in)] + self.suffix + token_ids[slice(*self.context)]


@dataclass(frozen=True)
class ProbePlan:
    """What is asked after the tokens [0, position)."""

    point: str  # name of the compression point
    position: int
    passes: list[ProbePass]

    @property
    def n_rows(self) -> int:
        return self.passes[-1].rows[1]

    @property
    def n_positions(self) -> int:
        """Positions that the model needs for the longest pass."""
        return self.position + max(end - begin for begin, end in (each.rows for each in self.passes))


def probe_wording(tokenizer, is_chat: bool) -> ProbeWording:
    suffix = answer_opening(tokenizer) if is_chat else TEXT_SUFFIX

    def tokenize(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    return ProbeWording(tokenize(FIRST_INSTRUCTION), tokenize(NEXT_INSTRUCTION), tokenize(suffix))


def plan_probes(plan: SamplePlan, wording: ProbeWording, chunk: int) -> list[ProbePlan]:
    """A probe for each compression point with context before it. `chunk`: context tokens per pass."""
    return [
        ProbePlan(point, position, _plan_passes(plan.n_prefix, position, wording, chunk))
        for point, position in plan.compression_points
        if position > plan.n_prefix
    ]


def _plan_passes(first: int, position: int, wording: ProbeWording, chunk: int) -> list[ProbePass]:
    """Chunks of the context [first, position)."""
    passes: list[ProbePass] = []
    n_rows = 0
    for begin in range(first, position, chunk):
        end = min(begin + chunk, position)
        is_first = begin == first
        instruction = wording.first if is_first else wording.next
        lead_in = (begin if is_first else begin - min(chunk, N_LEAD_IN), begin)
        n_tokens = len(instruction) + (lead_in[1] - lead_in[0]) + len(wording.suffix) + (end - begin)
        passes.append(ProbePass(instruction, lead_in, wording.suffix, (begin, end), (n_rows, n_rows + n_tokens)))
        n_rows += n_tokens
    return passes
