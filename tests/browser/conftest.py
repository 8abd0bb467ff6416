"""The browser, the program, and the reports that several tests look at."""

import os
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, find
from tests.browser.pages import BUDGETS, FEW, Report, Workshop

NEEDLE = Path(__file__).parents[2] / "traces/examples/smollm2-needle.h5"


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    name = os.environ.get("KVREPLAY_PROGRAM")
    if not name:
        pytest.skip("KVREPLAY_PROGRAM does not name the program")
    return Workshop(Path(name).resolve(), tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Chromium:
    program = find()
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return Chromium(program, tmp_path_factory.mktemp("visits"))


@pytest.fixture(scope="session")
def needle(chromium: Chromium, workshop: Workshop) -> Report:
    """The shipped trace: one sample, two points, four layers, every policy that it can feed, and what each keeps."""
    sets = workshop.folder / "needle.sets.h5"
    return workshop.report(workshop.replay("needle", NEEDLE, "--save-retained", sets), retained=sets)


@pytest.fixture(scope="session")
def samples(chromium: Chromium, workshop: Workshop) -> Report:
    """Six samples with sensitivities."""
    trace = workshop.synthetic("samples", "--samples", "6", "--sensitivity", "8")
    return workshop.report(workshop.replay("samples", trace, "-p", FEW, "-b", BUDGETS))


@pytest.fixture(scope="session", params=["needle", "samples"])
def either(request: pytest.FixtureRequest) -> Report:
    return request.getfixturevalue(request.param)
