"""What a user says about sequences that will be recorded: names, spans, compression points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError, UsageError
from ..common.prompt_forms import prompt_fields
from ..common.prompt_tokens import PromptTokens, in_order, ranges_as_spans, tokenize_prompt
from ..common.prompts import Prompt, read_prompt
from ..common.text_files import TextFiles

SOURCES = ("text", "text_file", "messages")


@dataclass(frozen=True)
class SequenceMark:
    """About one sequence. `fields`: as in a prompts file; a name and a text may be missing."""

    where: str  # for messages
    fields: dict

    @classmethod
    def of(cls, where: str, prompt, name, spans, compression_points) -> SequenceMark:
        """Throws UsageError for what is given twice, InputError for what is wrong whatever the model will read."""
        fields = {} if prompt is None else prompt_fields(prompt, where)
        for key, value in (("name", name), ("spans", spans), ("compression_points", compression_points)):
            if value is None:
                continue
            if key in fields:
                raise UsageError(f"{where}: '{key}' is in the prompt already")
            fields[key] = value
        mark = cls(where, fields)
        if mark._has_text:
            mark._prompt({"name": "sample", **fields})
        return mark

    @property
    def name(self) -> str | None:
        return self.fields.get("name")

    def tokens_of(self, name: str, ids: list[int], tokenizer) -> tuple[Prompt, PromptTokens]:
        """The prompt that was read as the tokens `ids`, with its spans. `name`: of a sample whose mark has none. Throws
        InputError where the marked prompt is another one."""
        fields = {"name": name, **self.fields}
        if self._has_text:
            prompt = self._prompt(fields)
            marked = tokenize_prompt(prompt, _needed(tokenizer, self.where))
            if marked.ids == ids:
                return prompt, marked
            # A text may have been tokenized without the tokens that stand around every text.
            bare = marked if prompt.text is None else tokenize_prompt(prompt, tokenizer, special_tokens=False)
            if bare.ids == ids:
                return prompt, bare
            different = _differ(ids, marked.ids)
            raise InputError(f"{self.where}: the model read other tokens than the marked prompt has: {different}")
        in_tokens = all(isinstance(span, dict) and "tokens" in span for span in self.fields.get("spans", []))
        text = (
            "no text" if in_tokens else _needed(tokenizer, self.where).decode(ids, clean_up_tokenization_spaces=False)
        )
        prompt = self._prompt({**fields, "text": text})
        if in_tokens:
            return prompt, PromptTokens(ids, in_order(ranges_as_spans(prompt, len(ids))), 0)
        marked = tokenize_prompt(prompt, tokenizer, special_tokens=False)
        if marked.ids != ids:
            raise InputError(
                f"{self.where}: spans of characters need the text: that of the tokens, decoded, has others "
                f"({_differ(ids, marked.ids)}); give the prompt, or spans of tokens"
            )
        return prompt, marked

    @property
    def _has_text(self) -> bool:
        return any(source in self.fields for source in SOURCES)

    def _prompt(self, fields: dict) -> Prompt:
        return read_prompt(fields, self.where, TextFiles(Path(), False))


def _needed(tokenizer, where: str):
    if tokenizer is None:
        raise UsageError(f"{where}: texts and spans of characters need recording(..., tokenizer=...)")
    return tokenizer


def _differ(read: list[int], marked: list[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(read, marked)) if a != b), min(len(read), len(marked)))
    found, expected = (str(ids[at]) if at < len(ids) else "nothing" for ids in (read, marked))
    return f"{len(read)} read, {len(marked)} marked, at position {at} token {found}, marked {expected}"
