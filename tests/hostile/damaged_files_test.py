"""Files that are damaged at random: every command that reads them refuses or reads them, and does nothing else.

KVREPLAY_PROGRAM=build/kvreplay python -m pytest tests/hostile/damaged_files_test.py
"""

import pytest

from tests.hostile.damaged_files import WEIGHTS, Seed, damaged_file, examine
from tests.hostile.promise import outcome
from tests.hostile.seeds import KINDS

SEED = 1
N_CASES, BLOCK = 300, 25


@pytest.mark.parametrize("name", KINDS)
def test_commands_read_what_is_not_damaged(program, seeds, tmp_path, name):
    for run, broken in outcome(program, KINDS[name], seeds / f"{name}.h5", seeds, tmp_path):
        refused = KINDS[name] == "outputs" and run.command == "compare"  # it compares results
        assert run.exit_code == (3 if refused else 0), run
        assert not broken, run


def test_a_case_is_always_the_same_file(seeds):
    files = {name: Seed(seeds / f"{name}.h5") for name in WEIGHTS}
    made = [damaged_file(files, SEED, case) for case in range(30)]
    assert made == [damaged_file(files, SEED, case) for case in range(30)]
    assert len({file.content for file in made}) == 30


@pytest.mark.parametrize("first", range(0, N_CASES, BLOCK))
def test_every_command_keeps_its_promise(program, seeds, tmp_path, first):
    found = [
        f"{damaged}: {', '.join(broken)}\n  {run}"
        for damaged, runs in examine(program, seeds, SEED, range(first, first + BLOCK), tmp_path)
        for run, broken in runs
        if broken
    ]
    hint = f"python -m tests.hostile.damaged_files --program {program} --seed {SEED} --keep FOLDER --case CASE"
    if found:
        pytest.fail("\n".join([*found, f"again: {hint}"]), pytrace=False)
