"""kvreplay train as a command: what it writes, what kvreplay makes of it, what it refuses."""

import contextlib
import io
import json
import os
import pickle
import shutil
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import torch

from kvreplay.commands import train
from kvreplay.learning import from_mlp
from kvreplay.learning.listwise import Schedule, train_listwise
from kvreplay.learning.lkv_file import read_networks
from kvreplay.learning.networks import make_networks
from kvreplay.learning.soft_topk import train_end_to_end
from kvreplay.learning.training_set import TrainingSet, open_instances

PROGRAM = os.environ["KVREPLAY_PROGRAM"]
N_LAYERS, N_KV_HEADS = 2, 2
torch.set_num_threads(1)  # threads only wait for each other in networks this small


def quiet(_step, _loss):
    pass


def run_training(*arguments):
    """(exit code, stdout, stderr)"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = train.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def run_program(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


class TrainTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        cls.traces = [cls.synthesise(f"t{seed}.h5", "--seed", seed) for seed in range(1, 6)]

    @classmethod
    def tearDownClass(cls):
        cls.shared.cleanup()

    @classmethod
    def synthesise(cls, name, *changes):
        """A trace of 200 prompt tokens and 16 decoded ones. \\param changes  of the options below"""
        path = Path(cls.shared.name) / name
        options = {"--layers": N_LAYERS, "--q-heads": 4, "--kv-heads": N_KV_HEADS, "--head-dim": 8, "--value-dim": 6}
        options |= {"--prompt": 200, "--decode": 16, "--needles": 1}
        options |= dict(zip(changes[::2], changes[1::2]))
        flags = [text for option, value in options.items() for text in ([option] if value is None else [option, value])]
        made = run_program("synth", "-o", path, *flags)
        assert made.returncode == 0, made.stderr
        return path

    def setUp(self):
        self._own = tempfile.TemporaryDirectory()
        self.addCleanup(self._own.cleanup)
        self.folder = Path(self._own.name)
        self.output = self.folder / "lkv.h5"

    def train(self, *arguments, code=0):
        found, out, err = run_training(*arguments, "-o", self.output, "--quiet", "--steps", "12", "--force")
        self.assertEqual(found, code, err)
        if code != 0:
            self.assertEqual(err.count("\n"), 1, err)
            self.assertTrue(err.startswith("kvreplay train: error: "), err)
            self.assertEqual(list(self.folder.glob("*.tmp")), [])
            self.assertFalse(self.output.exists())
        return out + err

    def damaged(self, change):
        """A copy of a trace with something changed."""
        path = self.folder / "damaged.h5"
        shutil.copy(self.traces[0], path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path


class LearningTest(TrainTest):
    def test_both_stages_bring_their_losses_down_also_on_a_prompt_not_seen(self):
        data, held = (TrainingSet(open_instances(part), False) for part in (self.traces[:4], self.traces[4:]))
        networks = make_networks(data.shape, data.n_features, seed=1)
        data.standardise(networks)
        still = Schedule(steps=1, learning_rate=1e-12)
        before = train_listwise(networks, held, still, 1, quiet)[0]
        losses = train_listwise(networks, data, Schedule(steps=60), 1, quiet)
        self.assertLess(np.mean(losses[-4:]), np.mean(losses[:4]) - 0.2)
        self.assertLess(train_listwise(networks, held, still, 1, quiet)[0], before - 0.2)
        # The second stage draws another budget for each step, so single losses do not compare: measure one schedule.
        measure = Schedule(steps=16, learning_rate=1e-12)
        start = np.mean(train_end_to_end(networks, data, measure, 3, quiet))
        train_end_to_end(networks, data, Schedule(steps=60, learning_rate=1e-3), 1, quiet)
        self.assertLess(np.mean(train_end_to_end(networks, data, measure, 3, quiet)), start - 0.01)

    def test_features_are_standardised_by_the_training_tokens(self):
        data = TrainingSet(open_instances(self.traces[:2]), False)
        networks = make_networks(data.shape, data.n_features, seed=1)
        data.standardise(networks)
        tokens = torch.cat([data.features(index, 1) for index in range(2)], dim=1).double()
        np.testing.assert_allclose(networks[1].mu.numpy(), tokens.mean(dim=1).numpy(), atol=1e-5)
        expected = tokens.std(dim=1, correction=0).clamp_min(1e-3).numpy()
        np.testing.assert_allclose(networks[1].sd.numpy(), expected, rtol=1e-4)

    def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(self):
        written = []
        for seed in (1, 1, 2):
            self.train(*self.traces[:2], "--seed", seed)
            written.append(self.output.read_bytes())
        self.assertEqual(written[0], written[1])
        self.assertNotEqual(written[0], written[2])

    def test_the_file_says_what_it_was_trained_on_and_each_fold_has_seen_a_half(self):
        out = self.train(*self.traces[:4], "--held-out", self.traces[4])
        self.assertIn("scorer lkv, 4 prompts, 2 folds", out)
        self.assertIn("synthetic-0000 (200 tokens): loss", out)
        with h5py.File(self.output) as file:
            self.assertEqual(file.attrs["format"], "kvlkv-1")
            self.assertEqual(file["scorer/w1"].shape, (N_LAYERS, N_KV_HEADS, 8 + 6 + 5, 64))
            everything, *folds = (
                [text.decode() for text in file[f"scorer{fold}/trained_on"]] for fold in ("", "/fold0", "/fold1")
            )
            fingerprint = json.loads(run_program("inspect", "--json", self.traces[0]).stdout)["files"][0]["fingerprint"]
            self.assertEqual(file["scorer/trained_on_traces"][0].decode(), fingerprint)
        self.assertEqual(len(set(everything)), 4)
        self.assertEqual([folds[0], folds[1]], [everything[0::2], everything[1::2]])

    def test_few_prompts_are_warned_of(self):
        self.assertIn("warning: 3 prompts are few", self.train(*self.traces[:3], "--no-folds"))
        self.assertNotIn("warning", self.train(*self.traces[:4], "--no-folds"))


class ReplayTest(TrainTest):
    def replay(self, *arguments):
        return run_program("replay", *arguments, "-b", "0.2,0.5", "-o", self.folder / "r.h5", "--force")

    def overlap(self, trace, policy, fold=""):
        """Jaccard overlap of kvreplay's sets with those of PyTorch's scores, least over all."""
        scores = self.folder / "scores.h5"
        networks = read_networks(self.output, "scorer" + fold)
        data = TrainingSet(open_instances([trace]), "lkv-q" in policy)
        with h5py.File(scores, "w") as file, torch.no_grad():
            for layer, network in enumerate(networks):
                file[f"samples/0000/layers/{layer:02d}/scores"] = network(data.features(0, layer)).numpy()
        done = self.replay(
            trace, "-p", f"{policy}+uniform,theirs+protect:sinks=4,recent=16", "--scores", f"theirs={scores}", "-m", "overlap",
            "--compression-point", "prompt",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        with h5py.File(self.folder / "r.h5") as file:
            return float(np.nanmin(file["overlap"][:]))

    def test_kvreplay_keeps_what_the_networks_say(self):
        for options, scorer in (([], "lkv"), (["--queries"], "lkv-q"), (["--end-to-end"], "lkv")):
            self.train(*self.traces[:4], *options)
            self.assertGreater(self.overlap(self.traces[4], f"{scorer}:file={self.output}"), 0.97, scorer)

    def test_a_prompt_that_was_trained_on_is_refused_allowed_or_given_to_a_fold(self):
        self.train(*self.traces[:4])
        refused = self.replay(self.traces[0], "-p", f"lkv:file={self.output}+uniform")
        self.assertEqual(refused.returncode, 3)
        self.assertIn("its file was trained on this prompt", refused.stderr)
        # Prompt 0 is in fold 0: fold 1 scores it.
        self.assertGreater(self.overlap(self.traces[0], f"lkv:file={self.output},trained=fold", "/fold1"), 0.97)
        self.assertGreater(self.overlap(self.traces[1], f"lkv:file={self.output},trained=fold", "/fold0"), 0.97)
        self.assertGreater(self.overlap(self.traces[0], f"lkv:file={self.output},trained=allow"), 0.97)
        with h5py.File(self.folder / "r.h5") as file:
            self.assertIn("lkv:file=lkv.h5,trained=allow+uniform", [text.decode() for text in file["policy"]])

    def test_a_replay_of_everything_leaves_learned_scorers_out(self):
        done = run_program("replay", self.traces[0], "--layer", "0", "-b", "0.5", "-o", self.folder / "all.h5")
        self.assertEqual(done.returncode, 0, done.stderr)
        with h5py.File(self.folder / "all.h5") as file:
            self.assertFalse([text for text in file["policy"] if text.startswith(b"lkv")])


class RefusalTest(TrainTest):
    def test_one_prompt_is_too_few(self):
        self.assertIn("1 prompt to learn from, at least 2 are needed", self.train(self.traces[0], code=3))

    def test_a_prompt_given_twice_is_named(self):
        copy = self.folder / "again.h5"
        shutil.copy(self.traces[0], copy)
        self.assertIn("has the same tokens as", self.train(self.traces[0], copy, code=3))
        message = self.train(*self.traces[:2], "--held-out", copy, code=3)
        self.assertIn("is held out, and", message)

    def test_values_that_are_no_numbers_are_refused_with_their_place(self):
        def spoil(file):
            file["samples/0000/layers/01/keys"][1, 17, 3] = np.nan

        message = self.train(self.damaged(spoil), self.traces[1], code=3)
        self.assertIn(
            "/samples/0000/layers/01/keys: head 1, token 17, channel 3: expected a finite value, found nan", message
        )

        def spoil_queries(file):
            file["samples/0000/layers/00/queries"][2, 205, 1] = np.inf

        message = self.train(self.damaged(spoil_queries), self.traces[1], code=3)
        self.assertIn("queries: head 2, recorded query 205 (token 205), channel 1: expected a finite value", message)

    def test_what_is_missing_or_has_another_shape_is_named(self):
        def remove(file):
            del file["samples/0000/layers/01/values"]

        for trusted, words in (("0", "values: expected a dataset, found nothing"), ("1", "values is missing")):
            with mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": trusted}):
                message = self.train(self.damaged(remove), self.traces[1], code=3)
            self.assertIn(f"/samples/0000/layers/01/{words}", message)

        def shorten(file):
            keys = file["samples/0000/layers/01/keys"][:, :-1]
            del file["samples/0000/layers/01/keys"]
            file["samples/0000/layers/01/keys"] = keys

        for trusted, words in (("0", "keys: expected"), ("1", "keys is [2, 215, 8], expected [2, 216, 8]")):
            with mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": trusted}):
                message = self.train(self.damaged(shorten), self.traces[1], code=3)
            self.assertIn(f"/samples/0000/layers/01/{words}", message)
        (self.folder / "text.h5").write_text("no trace")
        self.assertIn("text.h5", self.train(self.folder / "text.h5", self.traces[1], code=3))
        self.assertIn("missing.h5", self.train(self.folder / "missing.h5", self.traces[1], code=3))
        cut = self.folder / "cut.h5"
        cut.write_bytes(self.traces[0].read_bytes()[:20000])
        self.assertIn("cut.h5", self.train(cut, self.traces[1], code=3))

    def test_traces_of_other_models_or_layers_do_not_go_together(self):
        other = self.synthesise("other.h5", "--head-dim", "16", "--seed", "9")
        self.assertIn("head_dim 16 and 8", self.train(self.traces[0], other, code=3))
        fewer = self.synthesise("fewer.h5", "--layers", "1", "--seed", "9")
        self.assertIn("layers (0,) and (0, 1)", self.train(self.traces[0], fewer, code=3))
        self.assertIn("differ in model", self.train(*self.traces[:2], "--held-out", other, code=3))

    def test_prompts_that_teach_nothing_are_refused(self):
        silent = self.synthesise("silent.h5", "--decode", "0", "--seed", "9")
        self.assertIn("no query of a decoded token is recorded", self.train(self.traces[0], silent, code=3))
        short = self.synthesise("short.h5", "--prompt", "60", "--seed", "9")
        self.assertIn("a prompt of 60 tokens, at least 64 are needed", self.train(self.traces[0], short, code=3))
        late = self.synthesise("late.h5", "--seed", "9")
        with h5py.File(late, "r+") as file:
            ranges = file["samples/0000/query_ranges"]
            queries = [file[f"samples/0000/layers/{layer:02d}/queries"][:, 150:] for layer in range(N_LAYERS)]
            ranges[:] = [[150, 216]]
            for layer, rows in enumerate(queries):
                del file[f"samples/0000/layers/{layer:02d}/queries"]
                file[f"samples/0000/layers/{layer:02d}/queries"] = rows
        self.train(self.traces[0], late)
        self.output.unlink()
        self.assertIn(
            "50 of the last 64 prompt queries are recorded", self.train(self.traces[0], late, "--queries", code=3)
        )

    def test_no_output_projection_is_no_end_to_end_stage(self):
        bare = [self.synthesise(f"bare{seed}.h5", "--no-output-projection", None, "--seed", seed) for seed in (9, 10)]
        self.assertIn("no W_O was recorded", self.train(*bare, "--end-to-end", code=3))
        self.train(*bare)
        self.assertIn(
            "loss",
            self.train(*bare, "--held-out", self.synthesise("b.h5", "--no-output-projection", None, "--seed", 11)),
        )

    def test_usage_is_checked_before_the_work(self):
        self.assertEqual(run_training(self.traces[0])[0], 2)
        self.output.write_text("mine")
        code, _, err = run_training(*self.traces[:2], "-o", self.output)
        self.assertEqual((code, self.output.read_text()), (2, "mine"))
        self.assertIn("exists; --force replaces it", err)
        for option, value in (("--steps", "0"), ("--learning-rate", "nan"), ("--seed", "-1"), ("--step", "3")):
            self.assertEqual(run_training(*self.traces[:2], "-o", self.folder / "x.h5", option, value)[0], 2, option)


class FromMlpTest(TrainTest):
    def weights(self, n_inputs, **changes):
        generator = np.random.default_rng(1)
        heads = (N_LAYERS, N_KV_HEADS)
        arrays = {
            "w1": generator.normal(size=(*heads, n_inputs, 5)),
            "b1": generator.normal(size=(*heads, 5)),
            "w2": generator.normal(size=(*heads, 5)),
            "b2": generator.normal(size=heads),
        }
        arrays.update(changes)
        path = self.folder / "weights.npz"
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        return path, arrays

    def convert(self, path, inputs, code=0):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            found = from_mlp.main(
                [str(path), "--trace", str(self.traces[0]), "--inputs", inputs, "-o", str(self.output)]
            )
        self.assertEqual(found, code, err.getvalue())
        return err.getvalue()

    def test_inputs_are_put_where_the_features_stand(self):
        path, arrays = self.weights(1 + 6 + 8)
        self.convert(path, "frac,v,k_unrot")
        data = TrainingSet(open_instances(self.traces[:1]), False)
        features = data.features(0, 1).double().numpy()[1]
        keys, values, frac = features[:, :8], features[:, 8:14], features[:, 18:19]
        x = np.clip(np.concatenate([frac, values, keys], axis=1), -8, 8)
        hidden = x @ arrays["w1"][1, 1] + arrays["b1"][1, 1]
        expected = (hidden / (1 + np.exp(-hidden))) @ arrays["w2"][1, 1] + arrays["b2"][1, 1]
        with torch.no_grad():
            found = read_networks(self.output)[1](data.features(0, 1))[1].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        done = run_program(
            "replay", self.traces[0], "-p", f"lkv:file={self.output}+uniform", "-b", "0.5", "-o", self.folder / "r.h5"
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_does_not_map_is_refused(self):
        path, _ = self.weights(14)
        self.assertIn("'pos' is unknown", self.convert(path, "k_unrot,v,pos", code=3))
        self.assertIn("expected [2, 2, 15, 5]", self.convert(path, "k_unrot,v,frac", code=3))
        path, _ = self.weights(14, w3=np.zeros(3))
        self.assertIn("w3, which has no place", self.convert(path, "k_unrot,v", code=3))
        path, _ = self.weights(14, b1=None)
        self.assertIn("w1, b1 and w2 are wanted", self.convert(path, "k_unrot,v", code=3))
        path, _ = self.weights(14, b2=np.full((N_LAYERS, N_KV_HEADS), np.nan))
        self.assertIn("b2 holds NaN", self.convert(path, "k_unrot,v", code=3))

    def test_pickles_and_damaged_archives_are_refused_in_one_line(self):
        path, _ = self.weights(14)
        whole = path.read_bytes()
        pickled, _ = self.weights(14, w1=np.array([Path("a"), {}], dtype=object))
        cases = [(pickled.read_bytes(), "allow_pickle=False"), (pickle.dumps({"w1": 1}), "not a zip file")]
        cases += [(b"", "not a zip file"), (whole[:-9], "not a zip file"), (whole[:900] + b"?" + whole[901:], "CRC-32")]
        for content, words in cases:
            with self.subTest(words):
                path.write_bytes(content)
                message = self.convert(path, "k_unrot,v", code=3)
                self.assertIn(f"{path}: not a readable .npz archive: ", message)
                self.assertIn(words, message)
                self.assertEqual(message.count("\n"), 1)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w1", "text")
        self.assertIn("'w1' in it is no array", self.convert(path, "k_unrot,v", code=3))


if __name__ == "__main__":
    unittest.main()
