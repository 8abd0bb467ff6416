"""Reads the JSON lines that benchmarks of long contexts keep: LongBench, RULER and the evaluations of kvpress.

The context and the question are marked as spans, and as `needle` an answer that occurs once in the context, whole. The
answers themselves have no place in a trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from .errors import InputError
from .prompts import MarkedText, Message, Prompt, TextSpan, json_lines, read_prompts

# RULER's `input` holds both; of its 13 tasks the questions of niah begin with the second.
RULER_QUESTION = re.compile(r"Question:|What (?:is|are all) the special magic")
SEPARATOR = "\n\n"  # between LongBench's context and question


class Record:
    """One line. Errors name file, line, field, what was expected and what was found."""

    def __init__(self, fields, where: str):
        if not isinstance(fields, dict):
            raise InputError(f"{where}: expected a JSON object, found {_kind(fields)}")
        self.where, self._fields = where, fields

    def text(self, name: str, default: str | None = None) -> str:
        """A text; without a default it has to be there and not to be empty."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(name, "a text" if default is not None else "a text that is not empty", value)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can spell a lone surrogate
            raise self.wrong(name, "valid Unicode", value) from error
        return value

    def texts(self, *names: str) -> list[str]:
        """A list of texts under the first of the names that is there, or one text; none where none is."""
        name = next((name for name in names if self._fields.get(name) is not None), None)
        value = [] if name is None else self._fields[name]
        values = [value] if isinstance(value, (str, int, float)) else value
        if not isinstance(values, list) or not all(isinstance(each, (str, int, float)) for each in values):
            raise self.wrong(name, "a text or a list of texts", value)
        return [str(each) for each in values]

    def wrong(self, name: str, expected: str, found) -> InputError:
        shown = "nothing" if name not in self._fields else _kind(found)
        return InputError(f"{self.where}: field '{name}': expected {expected}, found {shown}")


def read_prompts_as(file_format: str, path: Path, text_files_anywhere: bool = False) -> list[Prompt]:
    """The prompts of a file in one of FORMATS. Throws InputError naming the line of the first bad one."""
    if file_format == "kvreplay":
        return read_prompts(path, text_files_anywhere)
    read = READERS[file_format]
    prompts = [read(Record(fields, where), number) for number, where, fields in json_lines(path)]
    if not prompts:
        raise InputError(f"{path}: no prompts in it")
    return prompts


def _longbench(record: Record, number: int) -> Prompt:
    """LongBench's instructions for each task are not in its files: the prompt is context, empty line, input."""
    context, question = record.text("context"), record.text("input", "")
    text = _marked(context, SEPARATOR if question else "", question, record.texts("answers"))
    return _chat(record, f"{record.text('dataset', 'longbench')}-{number}", text, "")


def _ruler(record: Record, number: int) -> Prompt:
    """RULER's `input` is the whole text, with a chat template where it was prepared with one."""
    whole = record.text("input")
    begins = [match.start() for match in RULER_QUESTION.finditer(whole)]
    if not begins or begins[-1] == 0:
        expected = "a context, then 'Question: ...' or 'What is|are all the special magic ...'"
        raise InputError(f"{record.where}: field 'input': expected {expected}, found {_shortened(whole)}")
    context, question = whole[: begins[-1]], whole[begins[-1] :]
    core = context.rstrip()
    text = _marked(core, context[len(core) :], question, record.texts("outputs"))
    return Prompt(f"ruler-{number}", record.where, text, None, {}, answer_prefix=record.text("answer_prefix", ""))


def _kvpress(record: Record, number: int) -> Prompt:
    """As its pipeline puts them together: context and question as a user's message, then what the answer begins with."""
    context, question = record.text("context"), record.text("question", "")
    text = _marked(context, "", question, record.texts("answers", "answer"))
    return _chat(record, f"{record.text('task', 'kvpress')}-{number}", text, record.text("answer_prefix", ""))


READERS: dict[str, Callable[[Record, int], Prompt]] = {"longbench": _longbench, "ruler": _ruler, "kvpress": _kvpress}
FORMATS = ("kvreplay", *READERS)


def _chat(record: Record, name: str, text: MarkedText, answer_prefix: str) -> Prompt:
    message = [Message("user", text)]
    return Prompt(name, record.where, None, message, {}, answer_prefix=answer_prefix, template_is_optional=True)


def _marked(context: str, between: str, question: str, answers: list[str]) -> MarkedText:
    spans = [TextSpan("context", 0, len(context))]
    if question.strip():
        begin = len(context) + len(between)
        spans.append(TextSpan("question", begin, begin + len(question)))
    for answer in dict.fromkeys(answers):
        if answer.strip() and context.count(answer) == 1:
            begin = context.index(answer)
            spans.append(TextSpan("needle", begin, begin + len(answer)))
    return MarkedText(context + between + question, spans)


def _kind(value) -> str:
    return "an empty text" if value == "" else _shortened(value)


def _shortened(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
