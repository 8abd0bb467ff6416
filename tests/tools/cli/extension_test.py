"""Commands that are programs of their own, found as kvreplay-NAME.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/cli/extension_test.py
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
echo "{0}: $@ / $OPENBLAS_CORETYPE"
exit 7
"""


@pytest.fixture
def program() -> Path:
    name = os.environ.get("KVREPLAY_PROGRAM")
    if not name:
        pytest.skip("KVREPLAY_PROGRAM does not name the program")
    return Path(name).resolve()


def put(folder: Path, name: str, says: str, mode: int = 0o755) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(SCRIPT.format(says))
    (folder / name).chmod(mode)


def run(program: Path, *words: str, path: str = "") -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    environment["PATH"] = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    return subprocess.run([program, *words], capture_output=True, text=True, env=environment)


def test_a_program_on_the_path_is_a_command_with_its_own_words_and_exit_code(program, tmp_path):
    put(tmp_path, "kvreplay-hello", "hello")
    done = run(program, "hello", "--world", "a b", path=str(tmp_path))
    assert (done.stdout, done.returncode) == ("hello: --world a b / \n", 7)
    assert run(program, "help", "hello", path=str(tmp_path)).stdout == "hello: --help / \n"


def test_what_lies_beside_the_program_comes_first(program, tmp_path):
    beside = tmp_path / "beside"
    beside.mkdir()
    for name in ("kvreplay", "kvreplay-reader"):
        shutil.copy(program.with_name(name), beside / name)
    put(beside, "kvreplay-hello", "beside")
    put(tmp_path / "path", "kvreplay-hello", "path")
    assert run(beside / "kvreplay", "hello", path=str(tmp_path / "path")).stdout.startswith("beside")


def test_a_command_of_the_program_is_never_another_program(program, tmp_path):
    put(tmp_path, "kvreplay-metrics", "metrics")
    assert "metrics: " not in run(program, "metrics", path=str(tmp_path)).stdout


@pytest.mark.parametrize("name", ["reader", "../hello", "/hello", "Hello", ""])
def test_what_is_no_plain_word_or_no_command_is_not_looked_for(program, tmp_path, name):
    put(tmp_path, f"kvreplay-{Path(name).name}", "found")
    done = run(program, name, path=str(tmp_path))
    assert done.returncode == 2
    assert "found" not in done.stdout
    assert "unknown command" in done.stderr


def test_a_file_that_cannot_be_run_and_a_folder_are_no_commands(program, tmp_path):
    put(tmp_path, "kvreplay-hello", "hello", mode=0o644)
    (tmp_path / "kvreplay-folder").mkdir()
    for name in ("hello", "folder"):
        assert "unknown command" in run(program, name, path=str(tmp_path)).stderr


@pytest.mark.parametrize(("name", "extra"), [("record", "record"), ("train", "train"), ("validate", "record")])
def test_without_the_python_package_its_commands_say_what_to_install(program, tmp_path, name, extra):
    done = subprocess.run([program, name, "--help"], capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr == f"kvreplay: {name} is a command of the Python package: pip install 'kvreplay[{extra}]'\n"
    assert f"\n  {name} " in run(program, "--help").stdout
