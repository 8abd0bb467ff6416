"""docs/example.ipynb runs from top to bottom, as a reader runs it, and shows what lies in it.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/docs/notebook_test.py
jupyter execute --inplace docs/example.ipynb    writes into it what it shows
"""

import importlib.util
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tests.support.python.paths import ROOT

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
NOTEBOOK = ROOT / "docs/example.ipynb"
MADE = {"own.h5", "results.h5", "sets.h5", "report.html"}
# A bar has gone when its replay is done; what is left is the widget that was shown.
WITH_BAR = """
import kvreplay as kr
from kvreplay.api.notebook_bar import NotebookBar
shown = []
show = NotebookBar.show
NotebookBar.show = lambda bar, line: (shown.append(line), show(bar, line))
kr.replay({trace!r}, ["snapkv", "capkv"], 0.1, inside={inside})
print(*shown, sep="\\n")
"""


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
@unittest.skipUnless(importlib.util.find_spec("nbclient"), "nbclient is not installed")
class NotebookCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        # A line for everything that is done, as a slow replay says it.
        cls.enterClassContext(mock.patch.dict(os.environ, KVREPLAY_PROGRESS_MS="1"))
        os.environ.pop("TQDM_DISABLE", None)  # of other tests in this process; put back with the rest

    def execute(self, notebook):
        from nbclient import NotebookClient

        resources = {"metadata": {"path": str(self.folder)}}
        return NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()


class Example(NotebookCase):
    def test_it_runs_and_shows_what_lies_in_it(self):
        import nbformat

        stored, run = nbformat.read(NOTEBOOK, 4), self.execute(nbformat.read(NOTEBOOK, 4))
        for before, after in zip(stored.cells, run.cells, strict=True):
            if before.cell_type == "code":
                with self.subTest(before.source):
                    self.assertEqual(kinds(before), kinds(after))
        self.assertEqual({path.name for path in (self.folder / "kvreplay-example").iterdir()}, MADE)

    def test_what_lies_in_it_is_whole(self):
        import nbformat

        code = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
        self.assertEqual([cell.execution_count for cell in code], list(range(1, len(code) + 1)))
        self.assertEqual(sum("image/png" in kind for cell in code for kind in kinds(cell)), 2)
        self.assertLess(NOTEBOOK.stat().st_size, 400_000)


class Bars(NotebookCase):
    def test_a_replay_shows_how_far_it_is(self):
        import nbformat.v4 as v4

        for inside in (True, False):
            with self.subTest(inside=inside):
                trace = str(ROOT / "traces/examples/smollm2-needle.h5")
                cell = v4.new_code_cell(WITH_BAR.format(trace=trace, inside=inside))
                run = self.execute(v4.new_notebook(cells=[cell]))
                said = "".join(output.get("text", "") for output in run.cells[0].outputs)
                self.assertRegex(said, r"replay: \d+ % of .* after")
                # Widgets whose views were shown.
                state = run.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
                self.assertIn("FloatProgressModel", {each["model_name"] for each in state.values()})


def kinds(cell) -> list[list[str]]:
    """Of its outputs but for streams, whose number depends on when they are flushed: the formats of each."""
    return [sorted(output.data) for output in cell.outputs if output.output_type != "stream"]


if __name__ == "__main__":
    unittest.main()
