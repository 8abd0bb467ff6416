"""tools/lkv/apply_live.py: a learned policy in a live model keeps what kvreplay keeps of its trace."""

import contextlib
import io
import os
import subprocess
import unittest

import h5py
import numpy as np
import torch

from recording import TEXT, RecorderTest

import train_lkv  # after recording.py, which makes it importable
from lkv import apply_live
from recorder.attention_hook import ATTENTION_NAME, AttentionHook
from recorder.model_loader import load_model, open_model

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
            self.assertEqual(train_lkv.main([str(argument) for argument in arguments]), 0)
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

    def test_it_keeps_the_tokens_that_a_replay_keeps(self):
        for kind in ("llama", "smollm3", "qwen3"):
            model, policy, trace = self.learn(kind)
            sets, length, _ = self.live_sets(model, policy, trace, 0.3)
            retained = self.folder / f"{kind}-sets.h5"
            arguments = [
                "replay",
                trace,
                "-p",
                f"lkv:file={policy}",
                "-b",
                round(0.3 * length),
                "--save-retained",
                retained,
            ]
            arguments += ["-o", self.folder / f"{kind}-r.h5", "--compression-point", "prompt", "--force"]
            done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            with h5py.File(retained) as file:
                for layer, live in sets.items():
                    group = file[f"samples/0000/prompt/layers/{layer:02d}/retained"]
                    theirs = group[next(iter(group))][0] != 0
                    np.testing.assert_array_equal(live.numpy(), theirs, f"{kind}, layer {layer}")

    def test_a_budget_table_splits_the_total_and_is_interpolated(self):
        model, policy, trace = self.learn("llama")
        shares = np.array([[[0.1, 0.3]] * 3, [[0.4, 0.6]] * 3], dtype="float32")  # means 0.2 and 0.5
        with h5py.File(policy, "r+") as file:
            file["budget/retained"], file["budget/fraction"] = np.array([0.2, 0.5], dtype="float32"), shares
        sets, length, live = self.live_sets(model, policy, trace, 0.5)
        self.assertEqual([int(kept.sum()) for kept in sets[1]], [round(0.4 * length), round(0.6 * length)])
        # Half way between 0.2 and 0.5; between 0.5 and all; between nothing and 0.2
        for kept, first, second in ((0.35, 0.25, 0.45), (0.75, 0.7, 0.8), (0.1, 0.05, 0.15), (1.0, 1.0, 1.0)):
            np.testing.assert_array_equal(live.budgets(kept, 1000)[0], [round(1000 * first), round(1000 * second)])

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
