"""Prompts as Python has them: texts, chats, objects as in a prompts file, lists of these, or the path of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .benchmark_prompts import read_prompts_as
from .errors import InputError, UsageError
from .prompts import Prompt, read_prompt
from .text_files import TextFiles


def prompts_of(prompts, text_files_anywhere: bool = False, file_format: str = "kvreplay") -> list[Prompt]:
    """Reads what `kvreplay.record` takes as prompts. Those without a name are called prompt-1, prompt-2, ... after
    their place. A `text_file` is relative to the working folder, or to the folder of the prompts file.

    Throws UsageError for what is no prompt, InputError, which names the place, for a bad one."""
    if isinstance(prompts, os.PathLike):
        return read_prompts_as(file_format, Path(prompts), text_files_anywhere)
    if isinstance(prompts, str) and "\n" not in prompts and os.path.isfile(prompts):
        raise UsageError(f"'{prompts}' is a file: pathlib.Path('{prompts}') reads it, {{'text': ...}} is a text")
    single = isinstance(prompts, (str, Mapping)) or _is_chat(prompts)
    if not single and not isinstance(prompts, (list, tuple)):
        raise UsageError(
            f"prompts: expected a text, a chat, an object, a list or a path, found {type(prompts).__name__}"
        )
    texts = TextFiles(Path(), text_files_anywhere)
    read: list[Prompt] = []
    for number, each in enumerate([prompts] if single else prompts, start=1):
        where = f"prompts[{number - 1}]"
        prompt = read_prompt({"name": f"prompt-{number}", **prompt_fields(each, where)}, where, texts)
        if any(other.name == prompt.name for other in read):
            raise InputError(f"{where}: the name '{prompt.name}' is already taken by another prompt")
        read.append(prompt)
    if not read:
        raise UsageError("prompts: an empty list")
    return read


def prompt_fields(prompt, where: str) -> dict:
    """One prompt as the object of a line of a prompts file."""
    if isinstance(prompt, str):
        return {"text": prompt}
    if isinstance(prompt, Mapping):
        return dict(prompt)
    if _is_chat(prompt):
        return {"messages": list(prompt)}
    raise UsageError(f"{where}: expected a text, a chat or an object, found {type(prompt).__name__}")


def _is_chat(value) -> bool:
    """Messages, or what is meant to be some: objects with a role."""
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    return is_list and all(isinstance(each, Mapping) and "role" in each for each in value)
