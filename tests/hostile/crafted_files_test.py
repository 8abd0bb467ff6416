"""Crafted files: every command that reads them refuses or reads them, and does nothing else.

KVREPLAY_PROGRAM=build/kvreplay python -m pytest tests/hostile/crafted_files_test.py -k fifo
"""

import tempfile
from pathlib import Path

import pytest

from tests.hostile.crafted_files import CASES, SECRET_TEXT, kind, make
from tests.hostile.promise import outcome


@pytest.fixture
def folder():
    """Gone at once: some of these files are large."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", CASES)
def test_every_command_keeps_its_promise(program, seeds, folder, name):
    file = make(CASES[name], folder, seeds)
    runs = outcome(program, kind(CASES[name]), file, seeds, folder, secret=SECRET_TEXT)
    found = [f"{', '.join(broken)}\n  {run}" for run, broken in runs if broken]
    if found:
        pytest.fail("\n".join(found), pytrace=False)
