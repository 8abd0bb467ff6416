"""Says how far long work is, from the first second on: a line that goes away on a terminal, elsewhere one now and then."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from .printable import printable

TERMINAL_PERIOD, LOG_PERIOD = 0.5, 30.0  # seconds


class Progress:
    """Tells it from a thread of its own while the block that it manages runs.

    `out`: stderr unless said otherwise; `period`: seconds between two messages; `quiet`: says nothing
    """

    def __init__(self, out: TextIO | None = None, period: float | None = None, quiet: bool = False):
        self._out = sys.stderr if out is None else out
        self._terminal = self._out.isatty()
        self._period = period or (TERMINAL_PERIOD if self._terminal else LOG_PERIOD)
        self._quiet = quiet
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._text, self._begun, self._shown = "", time.monotonic(), False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.clear()

    def show(self, text: str) -> None:
        """What is done now; the time that the block has taken is added."""
        with self._lock:
            self._text = text
            if self._terminal:
                self._draw()

    def clear(self) -> None:
        """Wipes the line of a terminal, so that something else can be said."""
        with self._lock:
            if self._shown:
                print("\r\033[K", end="", file=self._out, flush=True)
            self._shown = False

    def _run(self) -> None:
        while not self._stopped.wait(self._period):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._quiet or not self._text:
            return
        line = f"{printable(self._text)}, {time.monotonic() - self._begun:.0f} s"
        if self._terminal:
            print(f"\r\033[K{line}", end="", file=self._out, flush=True)
            self._shown = True
        else:
            print(line, file=self._out, flush=True)
