"""Command lines of the programs: errors of one line, and what several of them take."""

from __future__ import annotations

import argparse

from .errors import UsageError


class OneLineParser(argparse.ArgumentParser):
    def __init__(self, prog: str, description: str, epilog: str | None = None):
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str):
        raise UsageError(message)


def whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, found '{text}'")
    return int(text)


def positive_number(text: str) -> int:
    if whole_number(text) == 0:
        raise argparse.ArgumentTypeError("expected at least 1")
    return int(text)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declares how a live model is loaded and computes: --compute-dtype, --device, --allow-pickled-weights, --threads."""
    parser.add_argument(
        "--compute-dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="dtype the model computes in (default: float32)",
    )
    parser.add_argument("--device", default="cpu", help="torch device the model runs on (default: cpu)")
    add_pickled_weights_option(parser)
    add_threads_option(parser)


def add_pickled_weights_option(parser: argparse.ArgumentParser) -> None:
    """Declares --allow-pickled-weights."""
    parser.add_argument(
        "--allow-pickled-weights",
        action="store_true",
        help="load weights from pickled *.bin files, too (default: from *.safetensors and .gguf alone)",
    )


def add_text_files_option(parser: argparse.ArgumentParser) -> None:
    """Declares --allow-text-files-anywhere."""
    parser.add_argument(
        "--allow-text-files-anywhere",
        action="store_true",
        help="let a `text_file` of the prompts lie outside the folder of the prompts file",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Declares --threads."""
    parser.add_argument(
        "--threads", type=positive_number, metavar="N", help="CPU threads (default: torch's own choice)"
    )
