"""GGUF files: the weights load, and the tokenizer is the file's own."""

import importlib.util
import unittest

import h5py

from tests.support.python.recording import RecorderTest
from tests.support.python.tiny_gguf import save_tiny_gguf
from tests.support.python.tiny_models import tiny_tokenizer, tiny_vocabulary


class GgufModels(RecorderTest):
    def token_ids(self, text: str, **settings) -> list[int]:
        from kvreplay.common.gguf_tokenizer import build_gguf_tokenizer, read_gguf_fields

        path = save_tiny_gguf(self.folder / "tokens.gguf", **settings)
        return build_gguf_tokenizer(read_gguf_fields(path), path)(text)["input_ids"]

    @unittest.skipUnless(importlib.util.find_spec("accelerate"), "transformers loads GGUF weights only with accelerate")
    def test_a_gguf_model_is_recorded(self):
        model = save_tiny_gguf(self.folder / "tiny.gguf")
        prompts = self.prompts(
            {"name": "a", "messages": [{"role": "user", "content": [{"text": "the cat", "span": "context"}, " and?"]}]}
        )
        outcome = self.record(model=model, prompts=prompts)
        self.assertEqual(outcome.err, "")
        with h5py.File(self.trace()) as trace:
            self.assertEqual(trace.attrs["model_id"], "Tiny Llama")
            sample = trace["samples/0000"]
            texts = b"".join(sample["token_texts"][: sample.attrs["decode_start"]]).decode()
            self.assertEqual(texts, "<|begin|>user\nthe cat and?<|end|>\n<|begin|>assistant\n")

    def test_tokens_are_those_of_the_vocabulary(self):
        text = "the cat, in 1234<|end|>\n"
        expected = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
        self.assertEqual(self.token_ids(text, cut="gpt-2"), expected)
        self.assertEqual(self.token_ids(text, cut="gpt-2", add_bos=True), [0] + expected)

    def test_pre_tokenizers_cut_as_their_models_do(self):
        vocabulary = tiny_vocabulary()
        for cut, text, pieces in (
            ("smollm", "a 12", ["a", "Ġ", "1", "2"]),
            ("gpt-2", "the\n\nthe", ["the", "Ċ", "Ċ", "the"]),
            ("qwen2", "in.the", ["in", ".", "the"]),
            ("llama-bpe", "in.the", ["in", ".", "the"]),
        ):
            with self.subTest(cut):
                self.assertEqual([vocabulary[i] for i in self.token_ids(text, cut=cut)], pieces)

    def test_the_expressions_are_those_of_transformers(self):
        import inspect

        from transformers.convert_slow_tokenizer import TikTokenConverter
        from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

        from kvreplay.common.gguf_tokenizer import SPLIT_EXPRESSIONS

        llama3 = inspect.signature(TikTokenConverter).parameters["pattern"].default
        self.assertEqual(SPLIT_EXPRESSIONS, {"qwen2": PRETOKENIZE_REGEX, "llama-bpe": llama3})

    def test_other_tokenizers_are_refused_by_name(self):
        for settings, word in ((dict(kind="llama"), "'llama'"), (dict(cut="chameleon"), "'chameleon'")):
            with self.subTest(word):
                model = save_tiny_gguf(self.folder / "other.gguf", **settings)
                self.assert_refused(self.attempt(model=model), 3, "other.gguf", word)
