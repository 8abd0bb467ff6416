"""What our Python programs have in common: exit codes, errors of one line, a progress line that goes away."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from .errors import Error, InputError, UsageError, first_line
from .printable import printable

EXIT_FAILURE, EXIT_USAGE, EXIT_INPUT = Error.exit_code, UsageError.exit_code, InputError.exit_code


def run_program(name: str, work: Callable[[], None]) -> int:
    """Does the work; returns the exit code. Every error is one line on stderr. A SystemExit, of a parser, goes on."""
    try:
        work()
        return 0
    except UsageError as error:
        return _fail(name, f"{error} (--help explains)", EXIT_USAGE)
    except InputError as error:
        return _fail(name, str(error), EXIT_INPUT)
    except KeyboardInterrupt:
        return _fail(name, "interrupted, nothing was written", 128 + signal.SIGINT)
    except ModuleNotFoundError as error:
        return _fail(name, f"{error.name} is not installed: pip install 'kvreplay[record,train]'", EXIT_USAGE)
    except Exception as error:  # a full disk, no memory, a fault of ours: still one line
        return _fail(name, f"{type(error).__name__}: {first_line(error)}", EXIT_FAILURE)


def start_torch(threads: int | None, device: str) -> None:
    """Loads PyTorch, which takes seconds. Before it: nothing is ever fetched, and stderr is ours."""
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {first_line(error)}") from error


@contextlib.contextmanager
def torch_threads(n_threads: int | None) -> Iterator[None]:
    """Meanwhile PyTorch has so many; None: as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def clear_progress() -> None:
    """Wipes the line that progress was shown on, on a terminal."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def stop_cleanly_on_terminate() -> None:
    """SIGTERM ends the program by an exception, so that temporary files are removed."""

    def stop(signal_number, frame) -> None:
        raise SystemExit(128 + signal_number)

    signal.signal(signal.SIGTERM, stop)


def _fail(name: str, message: str, code: int) -> int:
    clear_progress()
    print(f"{name}: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
