"""Rebuilds a byte-level BPE tokenizer from the fields of a GGUF file.

transformers' own route, AutoTokenizer.from_pretrained(..., gguf_file=...), loads without a word and can be wrong: for
SmolLM2 it gives another family's tokenizer, which prepends a token and splits digits otherwise (transformers 5.2.0).
"""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

CONTROL_TOKEN, USER_DEFINED_TOKEN = 3, 4  # tokenizer.ggml.token_type

# How text is cut before BPE, by tokenizer.ggml.pre. The two expressions are those of transformers' Qwen2Tokenizer and
# TikTokenConverter (Llama 3). Other names are refused: a wrong cut gives other tokens than the model was trained on.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLIT_EXPRESSIONS = {"qwen2": _WORDS % r"\p{N}", "llama-bpe": _WORDS % r"\p{N}{1,3}"}
KNOWN_CUTS = ("gpt-2", "smollm", *SPLIT_EXPRESSIONS)


def read_gguf_fields(path: Path) -> dict:
    """The file's metadata that this recorder uses, name -> value; absent ones are missing."""
    import gguf

    try:
        reader = gguf.GGUFReader(path)
    except Exception as error:  # the reader raises what its parsing trips over
        raise InputError(f"{path}: not a readable GGUF file: {error}") from error
    wanted = ("general.name", "tokenizer.chat_template")
    return {
        name: field.contents() for name, field in reader.fields.items() if name in wanted or "tokenizer.ggml" in name
    }


def build_gguf_tokenizer(fields: dict, path: Path):
    """A PreTrainedTokenizerFast over the GGUF's own vocabulary. Throws InputError for other kinds than known ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    kind, cut = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2":
        raise InputError(f"{path}: its tokenizer is of the kind '{kind}'; only byte-level BPE ('gpt2') is supported")
    if cut not in KNOWN_CUTS:
        raise InputError(f"{path}: its pre-tokenizer '{cut}' is unknown (known: {', '.join(KNOWN_CUTS)})")
    texts, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]

    vocabulary = {text: i for i, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut == "llama-bpe"))
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(cut)
    tokenizer.decoder = decoders.ByteLevel()
    special = [text for text, kind in zip(texts, types) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    user_defined = [text for text, kind in zip(texts, types) if kind == USER_DEFINED_TOKEN]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in user_defined])
    tokenizer.post_processor = _post_processor(fields, texts)

    def token(name: str) -> str | None:
        index = fields.get(f"tokenizer.ggml.{name}_token_id")
        return None if index is None else texts[index]

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=token("bos"),
        eos_token=token("eos"),
        pad_token=token("padding"),
        chat_template=fields.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
    )


def _pre_tokenizer(cut: str):
    from tokenizers import Regex, pre_tokenizers

    if cut in SPLIT_EXPRESSIONS:
        split = pre_tokenizers.Split(Regex(SPLIT_EXPRESSIONS[cut]), behavior="isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if cut == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    return byte_level


def _post_processor(fields: dict, texts: list[str]):
    """Keeps the offsets of leading spaces in their tokens; prepends the BOS token where the file says so."""
    from tokenizers import processors

    byte_level = processors.ByteLevel(trim_offsets=False)
    if not fields.get("tokenizer.ggml.add_bos_token", False):
        return byte_level
    bos = fields["tokenizer.ggml.bos_token_id"]
    template = processors.TemplateProcessing(single=f"{texts[bos]} $A", special_tokens=[(texts[bos], bos)])
    return processors.Sequence([byte_level, template])
