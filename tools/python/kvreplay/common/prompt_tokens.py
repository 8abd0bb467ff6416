"""Turns a prompt into token ids, and its character spans into token spans."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import InputError, first_line
from .prompts import MarkedText, Message, Prompt, TextSpan

# Two private-use characters stand around a message's content while the chat template is rendered, so that the content
# is found even where the same words also occur in the template.
OPENING, CLOSING = "\ue0f0", "\ue0f1"


@dataclass(frozen=True)
class TokenSpan:
    """A marked range of tokens, [begin, end)."""

    name: str
    begin: int
    end: int


@dataclass
class PromptTokens:
    ids: list[int]
    spans: list[TokenSpan]  # ordered by begin, then end
    n_prefix: int  # tokens that the chat template puts before the first message; 0 without a template


def tokenize_prompt(prompt: Prompt, tokenizer, special_tokens: bool = True) -> PromptTokens:
    """Throws InputError when the prompt has no tokens, or a span falls on none.

    special_tokens: whether a plain text gets those that the tokenizer puts around every text
    """
    if prompt.messages is None:
        text, spans, special, n_prefix = prompt.text.text, prompt.text.spans, special_tokens, 0
    else:
        # The template writes the special tokens itself.
        text, spans = _render_chat(prompt.messages, tokenizer, prompt.where)
        special = False
        opening = _chat_opening(prompt.messages, tokenizer, prompt.where)
        n_prefix = len(tokenizer(opening, add_special_tokens=False, verbose=False)["input_ids"])
    text += prompt.answer_prefix
    encoding = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    ids, offsets = list(encoding["input_ids"]), encoding["offset_mapping"]
    if not ids:
        raise InputError(f"{prompt.where}: the prompt '{prompt.name}' has no tokens")
    token_spans = [_to_tokens(span, offsets, prompt.where) for span in spans]
    return PromptTokens(ids, in_order([*token_spans, *ranges_as_spans(prompt, len(ids))]), n_prefix)


def ranges_as_spans(prompt: Prompt, n_tokens: int) -> list[TokenSpan]:
    """The spans that are given in tokens; InputError where one goes beyond the `n_tokens` of the prompt."""
    for each in prompt.token_ranges:
        if each.end > n_tokens:
            raise InputError(
                f"{prompt.where}: the span '{each.name}' [{each.begin}, {each.end}) goes beyond the {n_tokens} tokens of "
                f"the prompt '{prompt.name}'"
            )
    return [TokenSpan(each.name, each.begin, each.end) for each in prompt.token_ranges]


def in_order(spans: list[TokenSpan]) -> list[TokenSpan]:
    return sorted(spans, key=lambda span: (span.begin, span.end, span.name))


def without_template(prompt: Prompt, tokenizer) -> Prompt:
    """The prompt as a plain text where it may be one, and the model has no chat template; else as it is."""
    if not prompt.template_is_optional or tokenizer.chat_template:
        return prompt
    return replace(prompt, text=prompt.messages[0].content, messages=None)


def answer_opening(tokenizer) -> str:
    """What the chat template puts between a user's message and the answer; without thinking, if it knows about that."""
    try:
        chat = [{"role": "user", "content": OPENING}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    except Exception as error:  # templates raise what they like
        raise InputError(f"the chat template refuses a user's message: {first_line(error)}") from error
    if text.count(OPENING) != 1:
        raise InputError("the chat template does not hold a user's message as it is")
    return text.partition(OPENING)[2]


def _to_tokens(span: TextSpan, offsets, where: str) -> TokenSpan:
    """The tokens that share at least one character with the span; `offsets` [n_tokens] of (begin, end)."""
    inside = [i for i, (begin, end) in enumerate(offsets) if begin < end and begin < span.end and end > span.begin]
    if not inside:
        raise InputError(f"{where}: the span '{span.name}' holds no token")
    return TokenSpan(span.name, inside[0], inside[-1] + 1)


def _render_chat(messages: list[Message], tokenizer, where: str) -> tuple[str, list[TextSpan]]:
    """The chat as one text, ending where the assistant's answer begins, and the spans in it."""
    if not tokenizer.chat_template:
        raise InputError(f"{where}: the model has no chat template; use 'text' instead of 'messages'")
    for message in messages:
        if OPENING in message.content.text or CLOSING in message.content.text:
            raise InputError(f"{where}: the characters U+E0F0 and U+E0F1 are reserved")

    plain = _apply_template(tokenizer, messages, [message.content.text for message in messages], where)
    marked = _apply_template(tokenizer, messages, [_mark(message.content.text) for message in messages], where)
    contents = [message.content for message in messages if message.content.text.strip()]
    pieces = marked.replace(CLOSING, OPENING).split(OPENING)  # odd ones lie between two marks: a content each
    if pieces[1::2] != [content.text.strip() for content in contents]:
        raise InputError(f"{where}: the chat template leaves out or alters a message, so that its spans are lost")
    text, spans = "", []
    for i, piece in enumerate(pieces):
        if i % 2 == 1:
            spans += _place_spans(contents[i // 2], len(text), where)
        text += piece
    if text != plain:
        raise InputError(f"{where}: the chat template alters the messages, so that spans in them cannot be found again")
    return text, spans


def _chat_opening(messages: list[Message], tokenizer, where: str) -> str:
    """What the template puts before the first message."""
    contents = [OPENING] + [message.content.text for message in messages[1:]]
    return _apply_template(tokenizer, messages, contents, where).partition(OPENING)[0]


def _place_spans(content: MarkedText, begin: int, where: str) -> list[TextSpan]:
    """A content's spans in the rendered chat, where the content, without white space around it, begins at `begin`."""
    core = content.text.strip()
    shift = begin - content.text.index(core)
    placed = []
    for span in content.spans:
        # Templates may trim, so the white space around a content is not counted on.
        clipped = TextSpan(span.name, max(begin, span.begin + shift), min(begin + len(core), span.end + shift))
        if clipped.begin >= clipped.end:
            raise InputError(f"{where}: the span '{span.name}' holds only white space around a message")
        placed.append(clipped)
    return placed


def _mark(content: str) -> str:
    core = content.strip()
    if not core:
        return content
    begin = content.index(core)
    return content[:begin] + OPENING + core + CLOSING + content[begin + len(core) :]


def _apply_template(tokenizer, messages: list[Message], contents: list[str], where: str) -> str:
    chat = [{"role": message.role, "content": content} for message, content in zip(messages, contents)]
    try:
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates raise what they like
        raise InputError(f"{where}: the chat template refuses the messages: {first_line(error)}") from error
