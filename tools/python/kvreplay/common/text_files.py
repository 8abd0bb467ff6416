"""Reads the text files that a prompts file names: by default those below its folder, so that a prompts file of others
cannot put any file of its reader into a trace that is then shared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .file_roles import check_input


@dataclass(frozen=True)
class TextFiles:
    folder: Path  # of the prompts file
    anywhere: bool  # whether files that lie elsewhere may be read

    def read(self, name: str, where: str) -> str:
        """A file's text. Throws InputError, which begins with `where`, for what is no regular file, lies outside the
        folder once all links are followed, or is not UTF-8."""
        try:
            path = self._find(name)
            return path.read_text(encoding="utf-8")
        except InputError as error:
            raise InputError(f"{where}: text_file: {error}") from error
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
            raise InputError(f"{where}: text_file: cannot read {self.folder / name}: {error}") from error

    def _find(self, name: str) -> Path:
        path, folder = (self.folder / name).resolve(), self.folder.resolve()
        if not (self.anywhere or path.is_relative_to(folder)):
            raise InputError(
                f"'{name}' is {path}, outside {folder}, the folder of the prompts file; --allow-text-files-anywhere reads it"
            )
        check_input(path)
        return path
