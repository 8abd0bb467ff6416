"""tools/python/kvreplay/learning/apply_live.py: a learned policy in a live model keeps what kvreplay keeps of its trace."""

import contextlib
import io
import os
import subprocess
import unittest

import h5py
import numpy as np
import torch

from kvreplay.commands import train
from kvreplay.common.attention_hook import ATTENTION_NAME, AttentionHook
from kvreplay.common.errors import InputError
from kvreplay.common.model_loader import load_model, open_model
from kvreplay.learning import apply_live
from tests.support.python.recording import TEXT, RecorderTest

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")


class LiveTest(RecorderTest):
    def learn(self, kind: str):
        """A model, a policy learned from two prompts, and the trace of a third; paths."""
        model = self.model(kind)
        self.texts = [" and ".join([TEXT] * 3), "on the floor " * 25, "the other cat in the inner room " * 9]
        traces = []
        for index, text in enumerate(self.texts):
            traces.append(self.folder / f"{kind}-{index}.h5")
            prompts = self.prompts({"name": "a", "text": text})
            self.record("--output", traces[-1], "--force", model=model, prompts=prompts)
        policy = self.folder / f"{kind}-lkv.h5"
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            arguments = [*traces[:2], "-o", policy, "--steps", 8, "--no-folds", "--quiet", "--force"]
            self.assertEqual(train.main([str(argument) for argument in arguments]), 0)
        return model, policy, traces[2]

    def live_sets(self, model_path, policy, trace, kept):
        hook = AttentionHook()
        hook.register()
        model = load_model(open_model(model_path, None), ATTENTION_NAME, "float32", "cpu")
        live = apply_live.LivePolicy(policy, model, hook)
        with h5py.File(trace) as file:
            sample = file["samples/0000"]
            ids = sample["token_ids"][: sample.attrs["decode_start"]].tolist()
        with torch.inference_mode():
            cache = model(input_ids=torch.tensor([ids]), use_cache=True).past_key_values
        return live.retained_sets(cache, len(ids), kept), len(ids), live

    def check_against_replay(self, sets, policy, trace, name, budget, allocator=""):
        retained = self.folder / f"{name}-sets.h5"
        arguments = ["replay", trace, "-p", f"lkv:file={policy}{allocator}", "-b", budget, "--save-retained", retained]
        arguments += ["-o", self.folder / f"{name}-r.h5", "--compression-point", "prompt", "--force"]
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        with h5py.File(retained) as file:
            for layer, live in sets.items():
                group = file[f"samples/0000/prompt/layers/{layer:02d}/retained"]
                theirs = group[next(iter(group))][0] != 0
                np.testing.assert_array_equal(live.numpy(), theirs, f"{name}, layer {layer}")

    def test_it_keeps_the_tokens_that_a_replay_keeps(self):
        for kind in ("llama", "smollm3", "qwen3"):
            model, policy, trace = self.learn(kind)
            sets, length, _ = self.live_sets(model, policy, trace, 0.3)
            self.check_against_replay(sets, policy, trace, f"{kind}", round(0.3 * length), "+uniform")

    def test_a_budget_table_splits_the_total_as_a_replay_does(self):
        model, policy, trace = self.learn("llama")
        generator = np.random.default_rng(3)
        with h5py.File(policy, "r+") as file:
            shape = (len(file.attrs["layers"]), int(file.attrs["n_kv_heads"]))
            budget = file.create_group("budget")
            budget.attrs.update(scorer="lkv", metric="fisher", prompt_length=100.0, uniform_mix=0.1, least_tokens=2)
            budget.attrs["keep_first"] = 4
            budget["grid"] = np.array([0.01, 0.2, 0.5, 1], dtype="float32")
            falls = np.cumsum(np.exp(3 * generator.standard_normal((*shape, 4))), axis=2)
            budget["curve"] = falls[:, :, ::-1].astype("float32")
            budget["retained"], budget["fraction"] = np.float32([0.2]), np.full((1, *shape), 0.2, dtype="float32")
            budget.create_dataset("trained_on", data=["another"], dtype=h5py.string_dtype())
        sets, length, live = self.live_sets(model, policy, trace, 0.3)
        self.assertGreater(len(np.unique(live.budgets(0.3, length))), 2)
        self.check_against_replay(sets, policy, trace, "table", 0.3)
        with h5py.File(policy, "r+") as file:
            file["budget"].attrs["keep_first"] = 9
        with self.assertRaisesRegex(InputError, "its heads keep the first 9 tokens, here 4"):
            self.live_sets(model, policy, trace, 0.3)

    def test_with_all_tokens_kept_the_answer_is_that_of_the_whole_cache(self):
        model, policy, _ = self.learn("llama")
        prompts = self.prompts({"name": "a", "text": self.texts[2]})
        answers = []
        for kept in ("1", "0.2"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                arguments = ["--model", model, "--policy", policy, "--prompts", prompts, "--kept", kept, "--decode", 6]
                self.assertEqual(apply_live.main([str(argument) for argument in arguments]), 0)
            lines = out.getvalue().splitlines()
            self.assertEqual(lines[0], f"a: 182 tokens, {round(float(kept) * 182) / 182:.1%} of their cache kept")
            answers.append([line.split(": ", 1)[1] for line in lines[1:]])
        self.assertEqual(answers[0][0], answers[0][1])
        self.assertEqual(answers[0][0], answers[1][0])

    def test_a_policy_of_another_model_is_refused(self):
        _, policy, _ = self.learn("llama")
        err = io.StringIO()
        prompts = self.prompts({"name": "a", "text": TEXT})
        with contextlib.redirect_stderr(err):
            arguments = ["--model", self.model("qwen3"), "--policy", policy, "--prompts", prompts]
            self.assertEqual(apply_live.main([str(argument) for argument in arguments]), 3)
        self.assertIn("head_dim is 8, the model's is 16", err.getvalue())


if __name__ == "__main__":
    unittest.main()
