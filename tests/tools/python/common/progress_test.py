"""Progress is told from the first second on, in the form that the stream wants."""

import io
import threading
import unittest

from kvreplay.common.progress import Progress

LONG_ENOUGH = 60.0  # seconds, for a machine that is busy


class Stream(io.StringIO):
    """A stream that says when something was written to it."""

    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal, self.written = terminal, threading.Event()

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        length = super().write(text)
        self.written.set()
        return length


class ProgressTest(unittest.TestCase):
    def test_a_log_gets_lines(self):
        out = Stream(terminal=False)
        with Progress(out, period=0.01) as progress:
            progress.show("reading 3001 tokens")
            self.assertTrue(out.written.wait(LONG_ENOUGH))
        first = out.getvalue().splitlines()[0]
        self.assertRegex(first, r"^reading 3001 tokens, \d+ s$")
        self.assertNotIn("\r", out.getvalue())

    def test_a_terminal_gets_one_line_at_once_which_goes_away(self):
        out = Stream(terminal=True)
        with Progress(out, period=LONG_ENOUGH) as progress:
            progress.show("loading")
            self.assertEqual(out.getvalue(), "\r\x1b[Kloading, 0 s")
            progress.show("reading")
        self.assertTrue(out.getvalue().endswith("reading, 0 s\r\x1b[K"))
        self.assertNotIn("\n", out.getvalue())

    def test_nothing_is_said_when_nobody_wants_it(self):
        out = Stream(terminal=True)
        with Progress(out, period=0.01, quiet=True) as progress:
            progress.show("loading")
        self.assertEqual(out.getvalue(), "")

    def test_the_thread_ends_with_the_block_whatever_happens(self):
        before = threading.active_count()
        with self.assertRaises(KeyError), Progress(Stream(terminal=False), period=0.01):
            raise KeyError
        self.assertEqual(threading.active_count(), before)


if __name__ == "__main__":
    unittest.main()
