"""A bar of progress in a notebook, by tqdm where it is installed."""

from __future__ import annotations

import re
import sys

_SHARE = re.compile(r"(?P<title>.*): (?P<percent>\d+) % of (?P<amount>.*) after .*?(?P<left>, .* left)?")


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this, and tqdm can draw there."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return False
    try:
        import ipywidgets  # noqa: F401
        import tqdm.notebook  # noqa: F401
    except ImportError:
        return False
    return True


class NotebookBar:
    """A context manager; a second bar takes the place of the first."""

    def __init__(self, title: str):
        from IPython.display import display
        from tqdm.notebook import tqdm

        shape = "{desc}: {percentage:3.0f} %|{bar}|{postfix}"
        self._bar = tqdm(total=100, desc=title, unit="%", leave=False, bar_format=shape, display=False)
        self._shown = display(self._bar.container, display_id=True)

    def __enter__(self) -> NotebookBar:
        return self

    def __exit__(self, *error) -> None:
        from IPython.display import HTML

        self._bar.close()
        self._shown.update(HTML(""))  # also where a notebook is looked at later, without its widgets

    def show(self, line: str) -> None:
        """A line of the program, "replay: 40 % of 78 GFLOP after 12 s, 18 s left"; others become the title."""
        told = _SHARE.fullmatch(line)
        if told is None:
            self._bar.set_description_str(line)
            return
        self._bar.set_description_str(told["title"], refresh=False)
        self._bar.set_postfix_str(f"{told['amount']}{told['left'] or ''}", refresh=False)
        self._bar.update(int(told["percent"]) - self._bar.n)
