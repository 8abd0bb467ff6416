"""What files call things cannot steer a terminal, wherever a program says it."""

import contextlib
import io
import unittest

from kvreplay.common.errors import InputError, UsageError
from kvreplay.common.printable import printable, printable_lines
from kvreplay.common.program import run_program
from kvreplay.common.progress import Progress
from kvreplay.recorder.progress import RecorderProgress
from kvreplay.validation.validating import _note

CLEAR = "\x1b[2J"  # clears the screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class PrintableTest(unittest.TestCase):
    def test_only_what_does_not_print_is_escaped(self):
        for text in ("Qwen3-0.6B", "größer — 模型 🙂", r"C:\n", "'\""):
            self.assertEqual(printable(text), text)
        self.assertEqual(printable(f"a{CLEAR}\r\n\t\x7f\x9b"), r"a\x1b[2J\r\n\t\x7f\x9b")
        # Right-to-left override, zero-width space, a byte that was no UTF-8, a character beyond 16 bits.
        self.assertEqual(printable("\u202e\u200b\udcff\U000e0001"), r"\u202e\u200b\udcff\U000e0001")
        self.assertEqual(printable_lines(f"a\n{CLEAR}\nb\n"), "a\n\\x1b[2J\nb\n")

    def test_errors_are_one_printable_line(self):
        for error in (InputError, UsageError, RuntimeError):
            with contextlib.redirect_stderr(io.StringIO()) as err:
                run_program("p", lambda error=error: self.fail_with(error(f"'{CLEAR}\u202e' is\ttoo long")))
            self.assertIn(r"'\x1b[2J\u202e' is too long", err.getvalue())
            self.assertEqual(err.getvalue().count("\n"), 1)

    def fail_with(self, error: Exception) -> None:
        raise error

    def test_progress_notes_and_reports_are_printable(self):
        out = Terminal()
        with Progress(out, period=60) as progress:
            progress.show(f"{CLEAR}: 1 of 3")
        self.assertIn(r"\x1b[2J: 1 of 3, 0 s", out.getvalue())
        self.assertNotIn(CLEAR, out.getvalue())
        with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()) as said:
            _note(CLEAR)
            with RecorderProgress() as progress:
                progress.note(CLEAR)
                progress.say(f"one\n{CLEAR}")
        self.assertEqual(err.getvalue().count(r"note: \x1b[2J"), 2)
        self.assertEqual(said.getvalue(), "one\n\\x1b[2J\n")


if __name__ == "__main__":
    unittest.main()
