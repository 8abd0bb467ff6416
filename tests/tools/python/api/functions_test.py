"""kvreplay.record, train, validate and fit_budgets do what the commands do, and are functions whatever is imported."""

import importlib
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import torch

import kvreplay as kr
from kvreplay.common.kvreplay_program import run_kvreplay
from tests.support.python.live_models import LiveTest, datasets, differences
from tests.support.python.recording import TEXT, run_recorder

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
MARKED = {"name": "a", "text": [{"text": TEXT, "span": "context"}, {"text": " where is the cat", "span": "question"}]}


class Names(unittest.TestCase):
    def test_functions_stay_functions_when_the_programs_are_imported(self):
        for name in ("record", "train", "validate"):
            importlib.import_module(f"kvreplay.commands.{name}")
            self.assertTrue(callable(getattr(kr, name)), name)

    def test_recording_needs_no_pytorch_before_its_first_use(self):
        code = "import sys, kvreplay as kr; kr.record, kr.recording, kr.train, kr.validate; sys.exit('torch' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)


class Record(LiveTest):
    def file(self, *prompts: dict) -> Path:
        path = self.path().with_suffix(".jsonl")
        path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        return path

    def by_command(self, *options) -> h5py.Group:
        words = ["--model", self.folder / "models/llama", "--prompts", self.file(MARKED), "-o", self.path("command")]
        self.assertEqual(run_recorder(*words, "--decode", 6, *options).code, 0)
        return self.open("command")["samples/0000"]

    def test_a_live_model_gives_the_trace_of_the_command(self):
        model = self.model()
        path = kr.record(
            model,
            self.tokenizer,
            MARKED,
            self.path(),
            decode=6,
            layers=[0, 2],
            query_spans=["question", "last:40"],
            sensitivity=4,
            sensitivity_targets="all",
            probes="repeat-context",
            probe_chunk=9,
            dtype="bfloat16",
            gzip=True,
        )
        self.assertEqual(path, self.path())
        options = ["--layers", "0,2", "--query-spans", "question,last:40", "--sensitivity", 4, "--sensitivity-targets"]
        options += ["all", "--probes", "repeat-context", "--probe-chunk", 9, "--dtype", "bfloat16", "--gzip"]
        command = self.by_command(*options)
        self.assertEqual(differences(command, self.open()["samples/0000"]), [])
        self.assertEqual(set(datasets(command)), set(datasets(self.open()["samples/0000"])))
        self.assertEqual(model.config._attn_implementation, "sdpa")
        self.assertTrue(all(each.requires_grad for each in model.parameters()))

    def test_a_path_is_loaded_as_by_the_command(self):
        self.model()
        kr.record(self.folder / "models/llama", None, MARKED, self.path(), decode=6, threads=1)
        self.assertEqual(differences(self.by_command(), self.open()["samples/0000"]), [])
        self.assertEqual(self.open().attrs["model_id"], "llama")

    def test_a_model_without_a_name_is_called_by_its_class(self):
        model = self.model()
        with mock.patch.object(model.config, "_name_or_path", ""):
            kr.record(model, self.tokenizer, TEXT, self.path(), decode=1)
        self.assertEqual(self.open().attrs["model_id"], "LlamaForCausalLM")

    def test_prompts_are_texts_chats_objects_lists_and_files(self):
        chat = [{"role": "user", "content": "the cat"}]
        for prompts, names in (
            (TEXT, ["prompt-1"]),
            (chat, ["prompt-1"]),
            (MARKED, ["a"]),
            ([TEXT, chat, MARKED, {"text": "it", "answer_prefix": "so"}], ["prompt-1", "prompt-2", "a", "prompt-4"]),
            (self.file(MARKED), ["a"]),
        ):
            with self.subTest(prompts):
                kr.record(self.model(), self.tokenizer, prompts, self.path(), decode=1, force=True)
                with h5py.File(self.path()) as trace:
                    self.assertEqual([sample.attrs["name"] for sample in trace["samples"].values()], names)

    def test_spans_of_tokens(self):
        prompt = {"text": TEXT, "spans": [{"name": "needle", "tokens": [3, 5]}]}
        kr.record(self.model(), self.tokenizer, prompt, self.path(), decode=1)
        spans = self.open()["samples/0000/spans"]
        self.assertEqual((spans["begin"][0], spans["end"][0]), (3, 5))

    def test_what_cannot_be_meant_or_recorded_is_refused_and_leaves_nothing(self):
        file = self.file(MARKED)
        for kind, words, prompts, options in (
            (kr.UsageError, "is a file: pathlib.Path", str(file), {}),
            (kr.UsageError, "expected a text", 7, {}),
            (kr.UsageError, "empty list", [], {}),
            (kr.UsageError, r"prompts\[1\]: expected a text", ["a", 7], {}),
            (kr.InputError, r"prompts\[0\]: unknown key 'txet'", {"txet": "a"}, {}),
            (kr.InputError, r"prompts\[1\]: the name 'a' is already", [MARKED, MARKED], {}),
            (
                kr.InputError,
                r"'x' \[0, 99\) goes beyond",
                {"text": "a", "spans": [{"name": "x", "tokens": [0, 99]}]},
                {},
            ),
            (kr.UsageError, "--sensitivity-targets needs", TEXT, {"sensitivity_targets": "all"}),
            (kr.UsageError, "at least 1", TEXT, {"probes": "repeat-context", "probe_chunk": 0}),
            (kr.UsageError, "no layer 9", TEXT, {"layers": 9}),
            (kr.UsageError, "--format", file, {"format": "squad"}),
            (kr.InputError, "512 positions", TEXT, {"decode": 600}),
        ):
            with self.subTest(words), self.assertRaisesRegex(kind, words):
                kr.record(self.model(), self.tokenizer, prompts, self.path(), **options)
            self.assert_nothing_left_but(file)
        with self.assertRaisesRegex(kr.InputError, "character offsets"):
            kr.record(self.model(), None, TEXT, self.path())
        with self.assertRaisesRegex(kr.UsageError, "PreTrainedModel"):
            kr.record(torch.nn.Linear(2, 2), self.tokenizer, TEXT, self.path())
        with self.assertRaisesRegex(kr.UsageError, "is read, and would be lost"):
            kr.record(self.model(), self.tokenizer, file, file, force=True)

    def assert_nothing_left_but(self, file: Path) -> None:
        self.assertEqual(list(self.folder.glob(self.path().stem + "*.h5*")), [])
        self.assertTrue(file.exists())


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM is not set to the path of the kvreplay program")
class OfTraces(LiveTest):
    def synthesised(self) -> list[Path]:
        paths = [self.path(f"synth-{seed}") for seed in (1, 2)]
        for seed, path in enumerate(paths, start=1):
            shape = ["--layers=2", "--q-heads=4", "--kv-heads=2", "--head-dim=8", "--value-dim=6", "--prompt=200"]
            run_kvreplay(["synth", "-o", str(path), *shape, "--decode=16", "--needles=1", f"--seed={seed}"])
        return paths

    def unlike_the_commands(self) -> list[str]:
        return [name for name in differences(self.open("command"), self.open()) if name != "created"]

    def test_train_writes_the_scorer_of_the_command(self):
        from kvreplay.commands.train import main

        traces = self.synthesised()
        with self.assertLogs("kvreplay", "WARNING") as log:
            path = kr.train(traces, self.path(), steps=5, seed=3, learning_rate=0.01, folds=False, threads=1)
        self.assertIn("2 prompts are few", log.output[0])
        self.assertFalse(torch.are_deterministic_algorithms_enabled())
        words = [*map(str, traces), "-o", str(self.path("command")), "--steps=5", "--seed=3", "--learning-rate=0.01"]
        self.assertEqual(main([*words, "--no-folds", "--quiet"]), 0)
        self.assertEqual(self.unlike_the_commands(), [])
        self.assertEqual(path, self.path())
        for kind, words, arguments in (
            (kr.UsageError, "exists", (traces, path)),
            (kr.InputError, "1 prompt to learn from", (traces[0], self.path("one"))),
        ):
            with self.assertRaisesRegex(kind, words):
                kr.train(*arguments)

    def test_fit_budgets_writes_the_table_of_the_command(self):
        traces = self.synthesised()
        path = kr.fit_budgets(
            traces, "knorm", self.path(), compression_points="prompt", layers=[0, 1], least=8, sinks=2
        )
        words = [
            *map(str, traces),
            "--scorer=knorm",
            "--compression-point=prompt",
            "--layer=0,1",
            "--least=8",
            "--sinks=2",
        ]
        run_kvreplay(["fit-budgets", *words, "-o", str(self.path("command"))])
        self.assertEqual(self.unlike_the_commands(), [])
        with self.assertRaisesRegex(kr.UsageError, "exists"):
            kr.fit_budgets(traces, "knorm", path)
        with self.assertRaises(kr.UsageError):
            kr.fit_budgets(traces, "knrm", self.path("other"))

    def test_validate_measures_what_the_command_does(self):
        from kvreplay.commands.validate import main

        model = self.model()
        kr.record(model, self.tokenizer, MARKED, self.path("trace"), decode=6, sensitivity=4, dtype="float32")
        trace, results, sets = (self.path(name) for name in ("trace", "results", "sets"))
        ds = kr.replay(trace, ["knorm", "streaming-llm", "h2o"], [0.3, 0.6], output=results, retained=sets)
        found = kr.validate(model, (trace, ds, sets), policies=["knorm", "h2o"], csv=self.path("live.csv"))
        self.assertEqual(model.config._attn_implementation, "sdpa")
        self.assertEqual(len(found.rows), 2 * 2 * 2)  # points, policies, budgets
        self.assertIn("predicted_kl", found.agreement.index)
        words = ["--model", self.folder / "models/llama", "--replay", trace, results, sets, "--policy", "knorm,h2o"]
        self.assertEqual(main([str(word) for word in [*words, "--json", self.path("json")]]), 0)
        said = json.loads(self.path("json").read_text())
        np.testing.assert_allclose(
            found.rows["true_kl"], [row["true_kl"] for row in said["rows"]], rtol=1e-4, atol=1e-7
        )
        self.assertEqual(found.json.keys(), said.keys())
        self.assertIn("spearman", repr(found))
        self.assertTrue(self.path("live.csv").read_text().startswith("trace,case,policy"))
        for kind, words, arguments, options in (
            (kr.UsageError, "replays", (model, trace), {}),
            (kr.InputError, "no policy 'snapkv'", (model, [(trace, results, sets)]), {"policies": "snapkv"}),
            (
                kr.InputError,
                "layer 0 has queries of the shape",
                (self.model("gemma3", dtype=torch.float32), (trace, results, sets)),
                {},
            ),
        ):
            with self.subTest(words), self.assertRaisesRegex(kind, words):
                kr.validate(*arguments, **options)
