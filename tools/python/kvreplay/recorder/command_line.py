"""The command line of kvreplay record: its options, and what its help says."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import VERSION
from ..common.benchmark_prompts import FORMATS
from ..common.command_line import OneLineParser, add_model_options, add_text_files_option, positive_number, whole_number
from ..common.prompts import SPAN_NAME
from .probe_plan import DEFAULT_CHUNK
from .sample_plan import LAST_TOKENS
from .sensitivity_plan import DECODED_TARGETS, EVERY_TARGET, MAX_SKETCHES, MIN_SKETCHES

PROGRAM = "kvreplay record"
SUMMARY = "Records the attention of a Hugging Face causal language model as a kvreplay trace."

PROMPTS_HELP = """\
prompts file: one JSON object per line, UTF-8
  name                a name, unique in the file
  text | text_file | messages
                      exactly one: a text, a file with the text (relative to the prompts file and below its folder), or a
                      chat [{"role": "user", "content": ...}, ...], rendered with the model's chat template up to where
                      the assistant's answer begins
  answer_prefix       optional text that the answer begins with; it is read with the prompt
  spans               optional list of marked ranges, each {"name": N, "text": a quote that occurs exactly once};
                      for prompts with one text, {"name": N, "begin": b, "end": e} in characters; or
                      {"name": N, "tokens": [b, e]} in positions of the prompt's tokens
  compression_points  optional {"NAME": position in tokens, or "SPAN" for the end of that span}

  `text` and `content` are strings or lists of segments: strings and objects with `text` or `text_file` (with
  `lines`: [first, last], counted from 1) and `span`: a name or a list of names. Touching segments of one name are one
  span:
    {"name": "n1", "text": [{"text_file": "a.txt", "lines": [1, 90], "span": "context"},
                            {"text": "The code is 7361.\\n", "span": ["context", "needle"]},
                            {"text_file": "a.txt", "lines": [91, 180], "span": "context"},
                            {"text": "\\nWhat is the code?", "span": "question"}]}
  A span holds the tokens that share a character with it.

benchmarks: --format longbench reads the fields context, input and answers, as one user's message; ruler reads input
(a whole text, in which the question is found), outputs and answer_prefix; kvpress reads context, question, answer_prefix,
and answers or answer. Messages are plain texts for models without a chat template. Spans: context, question, and
needle, an answer that occurs once in the context.

compression points written: `prompt` (the prompt's end), `context` (the end of the last span of that name), and the
prompt's own.

probes: with --probes repeat-context the model reads, after the tokens [0, c) of each compression point and nothing
else, KVzip's request to repeat them, and then these tokens again, --probe-chunk of them per pass. The queries and keys
of these passes are stored; nothing else in the trace changes. The wording is kvpress's. In a chat, the context is
everything from the first message's text to c, and the request ends as the chat template ends a user's message (without
thinking); of a prompt with `text` everything is context, and a line break ends the request. Each point takes two to
three times as long as reading its tokens does, and stores queries and keys for each of them again.

sensitivities: with --sensitivity R, at each compression point with tokens after it, R sketches of the Fisher
information of the model's predictions, at the outputs of attention. A sketch is one pass forward and one backward over
the tokens from the point on, with the keys and values before it as they are; 3 of 4 passes first drop a quarter, half
and three quarters of these at random, as an eviction would, for a model that is sure of a token shows nothing at its
clean cache. 16 sketches take about as long as the rest of a recording of 4,000 tokens, and R * layers * query heads *
value size bytes per token from the point on. Queries have to be recorded from the point on.

exit codes: 0 ok, 1 failure, 2 usage, 3 the model or the prompts cannot be recorded
"""


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(PROGRAM, SUMMARY + " The format is described in docs/formats/trace.md.", PROMPTS_HELP)
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="PATH", help="directory of a model, or a .gguf file")
    add("--prompts", required=True, type=Path, metavar="FILE", help="prompts, one JSON object per line (see below)")
    add(
        "--format",
        choices=FORMATS,
        default="kvreplay",
        help="what a line of the prompts file is: a prompt as below, or a record of LongBench, of RULER, or of kvpress's "
        "evaluations (default: kvreplay)",
    )
    add_text_files_option(parser)
    add("-o", "--output", required=True, type=Path, metavar="FILE", help="trace to write")
    add("--force", action="store_true", help="replace the output if it exists")
    add("-q", "--quiet", action="store_true", help="say nothing but errors")
    add(
        "--decode",
        type=whole_number,
        default=64,
        metavar="N",
        help="tokens to decode per prompt, 0 for none (default: 64)",
    )
    add(
        "--layers", type=_layers, default=None, metavar="LIST", help="layers to record, as 0,9,19 or all (default: all)"
    )
    add(
        "--query-spans",
        type=_query_spans,
        default=["all"],
        metavar="LIST",
        help="prompt positions whose queries are recorded: all, or names of spans and last:N, separated by commas; "
        "queries of decoded tokens always are (default: all)",
    )
    add(
        "--probes",
        choices=["none", "repeat-context"],
        default="none",
        help="extra passes that ask the model to repeat the context, which KVzip's scores are made of (see below; "
        "default: none)",
    )
    add(
        "--probe-chunk",
        type=positive_number,
        default=None,
        metavar="N",
        help=f"context tokens that one pass of a probe repeats (default: {DEFAULT_CHUNK})",
    )
    add(
        "--sensitivity",
        type=_sketches,
        default=0,
        metavar="R",
        help="sketches of how the model's predictions depend on its attention outputs, which predicted_kl is made of "
        f"(see below): 0 for none, at least {MIN_SKETCHES}, 16 is recommended (default: 0)",
    )
    add(
        "--sensitivity-targets",
        type=_targets,
        default=None,
        metavar="WHAT",
        help="the predictions that count: 'decode', those of the decoded tokens and of the one after them; "
        "'all' from the compression point on; or the name of a span of tokens that are predicted "
        f"(default: {DECODED_TARGETS})",
    )
    add(
        "--dtype",
        choices=["float16", "bfloat16", "float32"],
        default="float16",
        help="dtype in the trace (default: float16)",
    )
    add("--gzip", action="store_true", help="compress (saves 7 to 30 %%, slower to read)")
    add("--no-output-projection", action="store_true", help="leave W_O out of the trace")
    add(
        "--model-id", metavar="NAME", help="the model's name in the trace (default: the directory's, or the GGUF's own)"
    )
    add_model_options(parser)
    add("--version", action="version", version=f"{PROGRAM} {VERSION}")
    return parser


def _layers(text: str) -> list[int] | None:
    if text == "all":
        return None
    return sorted({whole_number(item) for item in text.split(",")})


def _query_spans(text: str) -> list[str]:
    items = text.split(",")
    for item in items:
        if not (SPAN_NAME.fullmatch(item) or LAST_TOKENS.fullmatch(item)):
            raise argparse.ArgumentTypeError(f"'{item}' is neither 'all', nor a span's name, nor last:N")
    return items


def _sketches(text: str) -> int:
    number = whole_number(text)
    if number != 0 and not MIN_SKETCHES <= number <= MAX_SKETCHES:
        raise argparse.ArgumentTypeError(f"expected 0, or {MIN_SKETCHES} to {MAX_SKETCHES} sketches, found {number}")
    return number


def _targets(text: str) -> str:
    if text not in (DECODED_TARGETS, EVERY_TARGET) and not SPAN_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is neither 'decode', nor 'all', nor a span's name")
    return text
