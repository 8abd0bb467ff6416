"""Reads prompt files: one JSON object per line, with marked spans. Knows characters, not tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError
from .file_roles import check_input
from .text_files import TextFiles

SPAN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
RESERVED_SPAN_NAMES = ("all", "decode")  # --query-spans and --sensitivity-targets give them a meaning of their own
PROMPT_KEYS = {"name", "text", "text_file", "messages", "answer_prefix", "spans", "compression_points"}
SEGMENT_KEYS = {"text", "text_file", "lines", "span"}


@dataclass(frozen=True)
class TextSpan:
    """A marked range of characters, [begin, end)."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True)
class TokenRange:
    """A marked range of the prompt's tokens, [begin, end)."""

    name: str
    begin: int
    end: int


@dataclass
class MarkedText:
    text: str
    spans: list[TextSpan] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)  # that the text was read from


@dataclass
class Message:
    role: str
    content: MarkedText


@dataclass
class Prompt:
    """One line of the prompts file. Exactly one of `text` and `messages` is set."""

    name: str
    where: str  # "FILE:LINE", for messages
    text: MarkedText | None
    messages: list[Message] | None
    compression_points: dict[str, int | str]  # name -> position in tokens, or the span whose end it is
    token_ranges: list[TokenRange] = field(default_factory=list)
    answer_prefix: str = ""  # what the answer begins with; part of the prompt
    template_is_optional: bool = False  # `messages` is one message, a plain text where the model has no chat template

    @property
    def files(self) -> list[Path]:
        """Files that its texts were read from."""
        texts = [self.text] if self.text is not None else [message.content for message in self.messages]
        return [path for text in texts for path in text.files]


def read_prompts(path: Path, text_files_anywhere: bool = False) -> list[Prompt]:
    """Reads all prompts of a file. Throws InputError naming the line of the first bad one.

    text_files_anywhere: whether a `text_file` may lie outside the folder of the prompts file
    """
    texts = TextFiles(path.parent, text_files_anywhere)
    prompts: list[Prompt] = []
    for _, where, fields in json_lines(path):
        prompt = read_prompt(fields, where, texts)
        if any(other.name == prompt.name for other in prompts):
            raise InputError(f"{where}: the name '{prompt.name}' is already taken by another prompt")
        prompts.append(prompt)
    if not prompts:
        raise InputError(f"{path}: no prompts in it")
    return prompts


def json_lines(path: Path) -> Iterator[tuple[int, str, object]]:
    """(number of the line, "FILE:LINE", value) of each line that is not empty. Throws InputError for what is no JSON."""
    check_input(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the prompts {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, f"{path}:{number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}") from error


def read_prompt(fields, where: str, texts: TextFiles) -> Prompt:
    """A prompt from the object of its line; InputError begins with `where`."""
    _require(isinstance(fields, dict), where, "expected a JSON object")
    _refuse_unknown_keys(fields, PROMPT_KEYS, where)
    name = fields.get("name")
    _require(isinstance(name, str) and name.isprintable() and name, where, "a prompt needs a printable 'name'")
    sources = [key for key in ("text", "text_file", "messages") if key in fields]
    _require(len(sources) == 1, where, "a prompt has exactly one of 'text', 'text_file' and 'messages'")

    if sources == ["messages"]:
        text, messages = None, _read_messages(fields["messages"], where, texts)
        parts = [message.content for message in messages]
    else:
        content = fields["text"] if sources == ["text"] else [{"text_file": fields["text_file"]}]
        text, messages = _read_content(content, where, texts), None
        parts = [text]
    _require(any(part.text for part in parts), where, "the prompt is empty")
    answer_prefix = fields.get("answer_prefix", "")
    _require(isinstance(answer_prefix, str), where, "'answer_prefix' is a text")
    return Prompt(
        name,
        where,
        text,
        messages,
        _read_compression_points(fields.get("compression_points", {}), where),
        _mark_listed_spans(fields.get("spans", []), parts, where),
        answer_prefix,
    )


def _read_messages(values, where: str, texts: TextFiles) -> list[Message]:
    _require(isinstance(values, list) and values, where, '\'messages\' is a list of {"role", "content"}, not empty')
    messages = []
    for value in values:
        valid = isinstance(value, dict) and set(value) == {"role", "content"} and isinstance(value["role"], str)
        _require(valid, where, "a message has a 'role' and a 'content', nothing else")
        messages.append(Message(value["role"], _read_content(value["content"], where, texts)))
    return messages


def _read_content(content, where: str, texts: TextFiles) -> MarkedText:
    """A string, or a list of segments: strings and {"text" or "text_file" (with "lines"), "span"}."""
    segments = [content] if isinstance(content, str) else content
    _require(isinstance(segments, list), where, "a text is a string or a list of segments")
    text, spans, files = "", [], []
    for segment in segments:
        if isinstance(segment, str):
            segment = {"text": segment}
        _require(isinstance(segment, dict), where, "a segment is a string or an object")
        _refuse_unknown_keys(segment, SEGMENT_KEYS, where)
        piece = _segment_text(segment, where, texts)
        if "text_file" in segment:
            files.append(texts.folder / segment["text_file"])
        names = segment.get("span", [])
        for name in [names] if isinstance(names, str) else names:
            _check_span_name(name, where)
            _require(piece, where, f"the span '{name}' is empty")
            spans.append(TextSpan(name, len(text), len(text) + len(piece)))
        text += piece
    return MarkedText(text, _join_touching(spans), files)


def _segment_text(segment: dict, where: str, texts: TextFiles) -> str:
    _require(("text" in segment) != ("text_file" in segment), where, "a segment has either 'text' or 'text_file'")
    if "text" in segment:
        _require(isinstance(segment["text"], str), where, "'text' in a segment is a string")
        _require("lines" not in segment, where, "'lines' belongs to 'text_file'")
        text = segment["text"]
    else:
        _require(isinstance(segment["text_file"], str), where, "'text_file' is a path, relative to the prompts file")
        text = texts.read(segment["text_file"], where)
        if "lines" in segment:
            text = _select_lines(text, segment["lines"], f"{where}: {texts.folder / segment['text_file']}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell a lone surrogate, UTF-8 and the tokenizer cannot
        raise InputError(f"{where}: the text is not valid Unicode: {error}") from error
    return text


def _select_lines(text: str, lines, where: str) -> str:
    """Lines [first, last], counted from 1, both included, as editors show them."""
    valid = isinstance(lines, list) and len(lines) == 2 and all(type(line) is int for line in lines)
    _require(valid, where, "'lines' is [first, last], counted from 1")
    first, last = lines
    all_lines = text.splitlines(keepends=True)
    _require(1 <= first <= last <= len(all_lines), where, f"lines {first} to {last} of a file with {len(all_lines)}")
    return "".join(all_lines[first - 1 : last])


def _mark_listed_spans(listed, parts: list[MarkedText], where: str) -> list[TokenRange]:
    """Adds the spans of the prompt's own "spans" list to the text, or to the message, that they lie in. Returns those
    that are ranges of tokens."""
    kinds = '{"name", "text"}, {"name", "begin", "end"} or {"name", "tokens": [begin, end]}'
    _require(isinstance(listed, list), where, f"'spans' is a list of {kinds}")
    ranges = []
    for span in listed:
        keys = set(span) if isinstance(span, dict) else set()
        known = ({"name", "text"}, {"name", "begin", "end"}, {"name", "tokens"})
        _require(keys in known, where, f"a listed span is one of {kinds}")
        name = span["name"]
        _check_span_name(name, where)
        if "tokens" in span:
            ranges.append(_token_range(name, span["tokens"], where))
            continue
        part, begin, end = _find_quote(span, parts, where) if "text" in span else _find_range(span, parts, where)
        part.spans.append(TextSpan(name, begin, end))
    return ranges


def _find_quote(span: dict, parts: list[MarkedText], where: str) -> tuple[MarkedText, int, int]:
    """Where the text of a span is: the part that it lies in, and [begin, end) in characters."""
    name, quote = span["name"], span["text"]
    _require(isinstance(quote, str) and quote, where, f"the span '{name}' is empty")
    found = [(part, match.start()) for part in parts for match in re.finditer(f"(?={re.escape(quote)})", part.text)]
    _require(
        len(found) == 1, where, f"the text of the span '{name}' occurs {len(found)} times in the prompt, expected once"
    )
    part, begin = found[0]
    return part, begin, begin + len(quote)


def _find_range(span: dict, parts: list[MarkedText], where: str) -> tuple[MarkedText, int, int]:
    name, begin, end = span["name"], span["begin"], span["end"]
    _require(len(parts) == 1, where, f"the span '{name}': 'begin' and 'end' are for prompts with one text")
    valid = type(begin) is int and type(end) is int and 0 <= begin < end <= len(parts[0].text)
    _require(
        valid,
        where,
        f"the span '{name}' [{begin}, {end}) does not lie in the text of {len(parts[0].text)} characters",
    )
    return parts[0], begin, end


def _token_range(name: str, tokens, where: str) -> TokenRange:
    valid = isinstance(tokens, (list, tuple)) and len(tokens) == 2 and all(type(each) is int for each in tokens)
    _require(
        valid and 0 <= tokens[0] < tokens[1], where, f"the span '{name}': 'tokens' is [begin, end), 0 <= begin < end"
    )
    return TokenRange(name, *tokens)


def _read_compression_points(points, where: str) -> dict[str, int | str]:
    _require(isinstance(points, dict), where, "'compression_points' maps names to positions or span names")
    for name, position in points.items():
        _check_span_name(name, where)
        _require(name not in ("prompt", "context"), where, f"the compression point '{name}' is written by itself")
        valid = type(position) is int or isinstance(position, str)
        _require(valid, where, f"the compression point '{name}' is a position in tokens or the name of a span")
    return dict(points)


def _join_touching(spans: list[TextSpan]) -> list[TextSpan]:
    """Joins spans of one name that touch: "context" around a needle is one span, not three."""
    joined: list[TextSpan] = []
    for span in spans:
        before = next((other for other in joined if other.name == span.name and other.end == span.begin), None)
        if before is None:
            joined.append(span)
        else:
            joined[joined.index(before)] = TextSpan(span.name, before.begin, span.end)
    return joined


def _check_span_name(name, where: str) -> None:
    valid = isinstance(name, str) and SPAN_NAME.fullmatch(name) and name not in RESERVED_SPAN_NAMES
    _require(valid, where, f"{name!r} cannot name a span: letters, digits, '_' and '-', and not 'all'")


def _refuse_unknown_keys(fields: dict, known: set[str], where: str) -> None:
    unknown = sorted(set(fields) - known)
    _require(not unknown, where, f"unknown key '{unknown[0] if unknown else ''}' (known: {', '.join(sorted(known))})")


def _require(condition, where: str, message: str) -> None:
    if not condition:
        raise InputError(f"{where}: {message}")
