"""The page about results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .opened_results import result_paths
from .program_run import run_logged
from .words import PathLike, each_option, flag, option, path_option, path_words

if TYPE_CHECKING:
    import xarray


def report(
    results: PathLike | xarray.Dataset | Iterable[PathLike | xarray.Dataset],
    output: PathLike,
    *,
    retained: PathLike | Iterable[PathLike] | None = None,
    title: str | None = None,
    force: bool = False,
) -> Path:
    """Writes a page (HTML) about results that needs nothing else, as `kvreplay report` does; returns its path.

    results: paths, or datasets that a file holds (see `kvreplay.compare`); several are joined
    retained: the sets that the same replay saved: shows which tokens are kept
    title: stands at its top; default: the model and the first samples
    force: overwrites the page

    Throws UsageError where the page exists, InputError for broken results, MachineError where it cannot be written."""
    sets = None if retained is None else path_words(retained, "retained")
    words = [*path_option("output", output), *each_option("retained", sets, "retained")]
    words += [*option("title", title), *flag("force", force), "--", *result_paths(results)]
    run_logged(["report", *words])
    return Path(output)
