"""What the tests of this folder begin with: the program and valid files of every kind."""

import os
from pathlib import Path

import pytest

from tests.hostile.seeds import make_seeds


@pytest.fixture(scope="session")
def program() -> Path:
    name = os.environ.get("KVREPLAY_PROGRAM")
    if not name:
        pytest.skip("KVREPLAY_PROGRAM does not name the program")
    return Path(name).resolve()


@pytest.fixture(scope="session")
def seeds(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    make_seeds(program, folder)
    return folder
