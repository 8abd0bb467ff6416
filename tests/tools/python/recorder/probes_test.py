"""Probes: what the model is asked, and that the recorded queries and keys are those of that question."""

import importlib
import os
import subprocess
import unittest
from unittest import mock

import h5py
import numpy as np
import torch

from kvreplay.common.prompt_tokens import tokenize_prompt
from kvreplay.common.prompts import MarkedText, Message, Prompt, TextSpan
from kvreplay.recorder.probe_plan import plan_probes, probe_wording
from kvreplay.recorder.sample_plan import plan_sample
from tests.support.python.file_contents import contents
from tests.support.python.recording import TEXT, RecorderTest
from tests.support.python.reference_attention import relative_error
from tests.support.python.tiny_models import CHAT_TEMPLATE, tiny_tokenizer

TOLERANCE = 1e-5  # as in faithfulness_test.py
PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
FIRST = "\n\nRepeat the previous context exactly."
NEXT = "\n\nRepeat the part of the previous context exactly, starting with"
CHAT = {
    "name": "a",
    "messages": [{"role": "user", "content": [{"text": TEXT, "span": "context"}, " Where is the cat?"]}],
}


def chat_prompt(*roles: str) -> Prompt:
    """A message of TEXT per role, each a span `context`."""
    spans = [TextSpan("context", 0, len(TEXT))]
    return Prompt("a", "p:1", None, [Message(role, MarkedText(TEXT, spans)) for role in roles], {})


def text_prompt() -> Prompt:
    return Prompt("a", "p:1", MarkedText(TEXT, [TextSpan("context", 0, 41)]), None, {})


class ProbePlans(unittest.TestCase):
    def plan(self, prompt: Prompt, chunk: int, n_decode: int = 4, tokenizer=None):
        """Token ids of the sample, and its probes by compression point."""
        tokenizer = tokenizer or tiny_tokenizer()
        plan = plan_sample(prompt, tokenize_prompt(prompt, tokenizer), n_decode, ["all"])
        probes = plan_probes(plan, probe_wording(tokenizer, prompt.messages is not None), chunk)
        return plan.prompt_ids, {probe.point: probe for probe in probes}

    def texts(self, probe, ids: list[int]) -> list[str]:
        return [tiny_tokenizer().decode(each.ids(ids)) for each in probe.passes]

    def test_a_chat_is_repeated_without_what_the_template_puts_before_it(self):
        ids, probes = self.plan(chat_prompt("user"), chunk=2048)
        self.assertEqual(list(probes), ["context", "prompt"])
        opening = "<|end|>\n<|begin|>assistant\n"
        self.assertEqual(self.texts(probes["context"], ids), [FIRST + opening + TEXT])
        self.assertEqual(self.texts(probes["prompt"], ids), [FIRST + opening + TEXT + opening])
        prefix = tiny_tokenizer()("<|begin|>user\n", add_special_tokens=False)["input_ids"]
        self.assertEqual(probes["context"].passes[0].context, (len(prefix), probes["context"].position))

    def test_white_space_at_the_begin_of_a_message_is_context(self):
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = CHAT_TEMPLATE.replace(" | trim", "")
        prompt = chat_prompt("user")
        prompt.messages[0].content = MarkedText("  " + TEXT, [])
        ids, probes = self.plan(prompt, chunk=2048, tokenizer=tokenizer)
        opening = "<|end|>\n<|begin|>assistant\n"
        self.assertEqual(self.texts(probes["prompt"], ids), [FIRST + opening + "  " + TEXT + opening])

    def test_further_messages_are_context_with_their_frames(self):
        ids, probes = self.plan(chat_prompt("system", "user"), chunk=2048)
        repeated = TEXT + "<|end|>\n<|begin|>user\n" + TEXT
        self.assertEqual(self.texts(probes["context"], ids), [FIRST + "<|end|>\n<|begin|>assistant\n" + repeated])

    def test_a_text_is_repeated_from_its_first_token(self):
        ids, probes = self.plan(text_prompt(), chunk=2048)
        self.assertEqual(probes["context"].passes[0].context, (0, probes["context"].position))
        self.assertEqual(self.texts(probes["context"], ids), [FIRST + "\n<|begin|>" + TEXT[:41]])

    def test_chunks_begin_where_those_before_end_and_quote_their_end(self):
        ids, probes = self.plan(text_prompt(), chunk=10)
        probe = probes["prompt"]
        contexts, rows = ([getattr(each, name) for each in probe.passes] for name in ("context", "rows"))
        self.assertEqual(contexts[0], (0, 10))
        self.assertEqual([begin for begin, _ in contexts[1:]], [end for _, end in contexts[:-1]])
        self.assertEqual(contexts[-1][1], len(ids))
        self.assertEqual([begin for begin, _ in rows], [0] + [end for _, end in rows[:-1]])
        self.assertEqual([end - begin for begin, end in rows], [len(each.ids(ids)) for each in probe.passes])
        self.assertEqual(probe.n_rows, rows[-1][1])
        decode = tiny_tokenizer().decode
        self.assertEqual(self.texts(probe, ids)[1], NEXT + decode(ids[2:10]) + "\n" + decode(ids[10:20]))
        self.assertEqual(probe.n_positions, len(ids) + max(end - begin for begin, end in rows))

    def test_a_short_chunk_is_quoted_as_a_whole_and_no_more(self):
        ids, probes = self.plan(text_prompt(), chunk=3)
        decode = tiny_tokenizer().decode
        self.assertEqual(self.texts(probes["prompt"], ids)[2], NEXT + decode(ids[3:6]) + "\n" + decode(ids[6:9]))

    def test_nothing_is_asked_where_only_the_template_lies_before(self):
        prompt = chat_prompt("user")
        prompt.compression_points["early"] = 2
        _, probes = self.plan(prompt, chunk=2048)
        self.assertEqual(list(probes), ["context", "prompt"])

    def test_the_answer_opens_without_thinking(self):
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = CHAT_TEMPLATE.replace(
            "assistant\n", "assistant\n{% if enable_thinking is false %}(no thoughts){% endif %}"
        )
        ids, probes = self.plan(chat_prompt("user"), chunk=2048, tokenizer=tokenizer)
        self.assertEqual(
            self.texts(probes["context"], ids), [FIRST + "<|end|>\n<|begin|>assistant\n(no thoughts)" + TEXT]
        )


class Probes(RecorderTest):
    def open_trace(self, path=None) -> h5py.File:
        trace = h5py.File(path or self.trace())
        self.addCleanup(trace.close)
        return trace

    def test_queries_and_keys_are_those_of_reading_context_and_question_at_once(self):
        for kind in ("llama", "qwen3", "gemma2", "gemma3", "smollm3"):
            with self.subTest(kind):
                model, path = self.model(kind), self.folder / f"{kind}.h5"
                self.record("--probes", "repeat-context", "--probe-chunk", 15, "--output", path,
                            model=model, prompts=self.prompts(CHAT))  # fmt: skip
                sample = self.open_trace(path)["samples/0000"]
                ids = sample["token_ids"][()].tolist()
                points = zip(sample["compression_points/name"].asstr(), sample["compression_points/position"])
                for point, position in points:
                    for begin, end, question in questions(sample[f"probes/{point}"], ids):
                        expected = run_whole(model, ids[:position] + question, len(question))
                        for layer, (queries, keys) in enumerate(expected):
                            found = sample[f"probes/{point}/layers/{layer:02d}"]
                            self.assertLess(relative_error(found["queries"][:, begin:end], queries), TOLERANCE)
                            self.assertLess(relative_error(found["keys"][:, begin:end], keys), TOLERANCE)

    def test_nothing_else_in_the_trace_changes(self):
        prompts = self.prompts(CHAT, {"name": "b", "text": TEXT})
        plain = self.folder / "plain.h5"
        self.record("--output", plain, prompts=prompts)
        self.record("--probes", "repeat-context", "--probe-chunk", 20, prompts=prompts)
        probed = contents(self.open_trace())
        self.assertEqual({name.split("/")[4] for name in probed if "/probes/" in name}, {"context", "prompt"})
        probed = {name: value for name, value in probed.items() if "/probes" not in name}
        expected = contents(self.open_trace(plain))
        for items in (probed, expected):
            del items["/@created"]
        self.assertEqual(probed, expected)

    def test_half_precision_is_the_rounded_float32(self):
        self.record("--probes", "repeat-context", prompts=self.prompts(CHAT))
        name = "samples/0000/probes/context/layers/01/queries"
        exact = self.open_trace()[name][()]
        for dtype, options, error in (("float16", ["--gzip"], 2**-11), ("bfloat16", [], 2**-8)):
            with self.subTest(dtype):
                path = self.folder / f"{dtype}.h5"
                self.record("--probes", "repeat-context", "--dtype", dtype, "--output", path, *options,
                            prompts=self.prompts(CHAT))  # fmt: skip
                stored = self.open_trace(path)[name]
                np.testing.assert_allclose(stored.astype("float32")[()], exact, rtol=error, atol=1e-7)
                self.assertEqual(stored.compression, "gzip" if options else None)

    def test_a_point_among_the_decoded_tokens_repeats_them_too(self):
        prompt = {"name": "a", "text": TEXT, "compression_points": {"late": 60}}
        self.record("--probes", "repeat-context", "--decode", 40, prompts=self.prompts(prompt))
        sample = self.open_trace()["samples/0000"]
        self.assertLess(sample.attrs["decode_start"], 60)
        self.assertEqual(sample["probes/late/chunks"][0, :2].tolist(), [0, 60])

    def test_recorded_layers_only(self):
        self.record("--probes", "repeat-context", "--layers", "0,2")
        self.assertEqual(list(self.open_trace()["samples/0000/probes/prompt/layers"]), ["00", "02"])

    def test_stdout_says_what_was_stored(self):
        outcome = self.record("--probes", "repeat-context", "--probe-chunk", 30)
        self.assertRegex(outcome.out, r"a, probe at prompt: repeats \[0, \d+\) in 2 passes, \d+ tokens in ")

    def test_a_point_without_context_is_noted(self):
        outcome = self.record(
            "--probes", "repeat-context", prompts=self.prompts({**CHAT, "compression_points": {"early": 2}})
        )
        self.assertEqual(outcome.err.count("\n"), 1)
        self.assertIn("'a' has no probe at 'early': nothing but the chat template lies before it", outcome.err)

    def test_what_cannot_be_is_refused(self):
        self.assert_refused(self.attempt("--probe-chunk", 8), 2, "--probe-chunk needs --probes repeat-context")
        self.assert_refused(self.attempt("--probes", "gradients"), 2, "--probes", "'gradients'", "repeat-context")
        self.assert_refused(self.attempt("--probes", "repeat-context", "--probe-chunk", 0), 2, "at least 1")
        prompts = self.prompts({"name": "long", "text": TEXT * 6})  # fits, but not twice
        self.record("--decode", 1, prompts=prompts)
        self.trace().unlink()
        outcome = self.attempt("--decode", 1, "--probes", "repeat-context", prompts=prompts)
        self.assert_refused(outcome, 3, "'long' needs", "'prompt'", "the model has 512", "smaller --probe-chunk")
        self.record("--decode", 1, "--probes", "repeat-context", "--probe-chunk", 60, prompts=prompts)

    def test_values_beyond_float16_are_named(self):
        from kvreplay.recorder.layer_buffers import LayerBuffers

        append = LayerBuffers.append

        def enlarge(buffers, name, rows):
            append(buffers, name, rows * 1e6 if "values" not in buffers.tensors else rows)

        with mock.patch.object(LayerBuffers, "append", enlarge):
            outcome = self.attempt("--probes", "repeat-context", "--dtype", "float16")
        self.assert_refused(outcome, 3, "layer 0", "queries reach", "--dtype bfloat16")

    def test_caches_that_cannot_be_set_back_are_refused(self):
        from transformers.cache_utils import DynamicCache, DynamicLayer

        class RecurrentLayer(DynamicLayer):
            pass

        make_layers = DynamicCache.__init__

        def make_other_layers(cache, *args, **kwargs):
            make_layers(cache, *args, **kwargs)
            cache.layers = [RecurrentLayer() for _ in range(3)]

        with mock.patch.object(DynamicCache, "__init__", make_other_layers):
            outcome = self.attempt("--probes", "repeat-context")
        self.assert_refused(outcome, 3, "(RecurrentLayer) cannot be set back", "without --probes")

    @unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM is not set to the path of the kvreplay program")
    def test_the_program_reads_them(self):
        self.record("--probes", "repeat-context", "--probe-chunk", 15, prompts=self.prompts(CHAT))
        n_rows = self.open_trace()["samples/0000/probes/context/chunks"][-1, 3]
        inspect = subprocess.run([PROGRAM, "inspect", self.trace()], capture_output=True, text=True)
        self.assertEqual(inspect.returncode, 0, inspect.stderr)
        self.assertIn(f"chunks, {n_rows} queries and keys", inspect.stdout)


def questions(probe: h5py.Group, ids: list[int]):
    """(row_begin, row_end, token ids) of each chunk of a probe in a chat, built from the chunk table alone."""

    def tokens(text: str) -> list[int]:
        return tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]

    for i, (begin, end, row_begin, row_end) in enumerate(probe["chunks"][()].tolist()):
        instruction = tokens(FIRST) if i == 0 else tokens(NEXT) + ids[begin - 8 : begin]
        yield row_begin, row_end, instruction + tokens("<|end|>\n<|begin|>assistant\n") + ids[begin:end]


def run_whole(folder, token_ids: list[int], n_last: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Queries and keys of the last tokens in each layer, [heads, n_last, head_dim], from one pass without a cache.

    By transformers' own eager attention, seen where the modeling code hands them over.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    code = importlib.import_module(type(model).__module__)
    layers, original = {}, code.eager_attention_forward

    def watch(module, query, key, *args, **kwargs):
        layers[module.layer_idx] = tuple(tensor[0, :, -n_last:].double().numpy() for tensor in (query, key))
        return original(module, query, key, *args, **kwargs)

    with mock.patch.object(code, "eager_attention_forward", watch), torch.no_grad():
        model(input_ids=torch.tensor([token_ids]))
    return [layers[layer] for layer in sorted(layers)]


if __name__ == "__main__":
    unittest.main()
