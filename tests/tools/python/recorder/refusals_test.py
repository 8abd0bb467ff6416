"""What cannot be carried is refused by name, and no failure leaves anything behind."""

import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import torch

from tests.support.python.paths import ROOT
from tests.support.python.recording import RecorderTest, run_recorder
from tests.support.python.tiny_models import save_tiny_model


class Refusals(RecorderTest):
    def altered(self, name: str, kind: str, alter=None, **changes):
        return save_tiny_model(self.folder / name, kind, alter, **changes)

    def test_models_that_a_trace_cannot_carry(self):
        cases = {
            "gpt_oss": ("layer 0", "attention sinks", "s_aux"),
            "deepseek": ("latent", "kv_lora_rank"),
            "llama4": ("apply_rotary_pos_emb",),
            "bloom": ("attention interface",),
        }
        for kind, words in cases.items():
            with self.subTest(kind):
                self.assert_refused(self.attempt(model=self.model(kind)), 3, *words)

    def test_values_beyond_float16_are_named(self):
        def enlarge(model):
            model.model.layers[1].self_attn.k_proj.weight *= 1e6

        model = self.altered("loud", "llama", enlarge)
        self.assert_refused(
            self.attempt("--dtype", "float16", model=model), 3, "layer 1", "keys reach", "e+06", "--dtype bfloat16"
        )
        self.record("--dtype", "bfloat16", model=model)

    def test_weights_beyond_float16_are_named(self):
        def enlarge(model):
            model.model.layers[2].self_attn.o_proj.weight *= 1e6

        model = self.altered("loud-projection", "llama", enlarge)
        self.assert_refused(self.attempt("--dtype", "float16", model=model), 3, "layer 2", "output_projection")

    def test_values_that_are_not_finite_are_named(self):
        def break_values(model):
            model.model.layers[1].self_attn.v_proj.weight[0, 0] = torch.nan

        self.assert_refused(
            self.attempt(model=self.altered("broken", "llama", break_values)), 3, "layer 1", "values", "NaN"
        )

    def test_attention_that_changes_between_heads_and_projection(self):
        import transformers.models.llama.modeling_llama as llama

        original = llama.LlamaAttention.forward

        def gated(self, *args, **kwargs):
            handle = self.o_proj.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0.5,), prepend=True)
            try:
                return original(self, *args, **kwargs)
            finally:
                handle.remove()

        with mock.patch.object(llama.LlamaAttention, "forward", gated):
            self.assert_refused(self.attempt(), 3, "layer 0", "gated", "--no-output-projection")
            self.record("--no-output-projection")

    def test_rope_that_changes_with_the_length(self):
        # "longrope" turns to other frequencies past its original length: the survey sees the first ones only.
        rope = {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "original_max_position_embeddings": 40,
            "factor": 4.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
        }
        model = self.altered("longrope", "llama", rope_parameters=rope)
        self.assert_refused(self.attempt(model=model), 3, "layer 0", "rotary embedding", "changes with the length")
        self.record("--decode", 4, model=model, prompts=self.prompts({"name": "short", "text": "the cat"}))

    def test_prompts_beyond_the_models_positions(self):
        prompts = self.prompts({"name": "long", "text": "ab " * 300})
        self.assert_refused(self.attempt(prompts=prompts), 3, "'long'", "512 positions")

    def test_paths_that_are_no_models(self):
        empty = self.folder / "nothing"
        empty.mkdir()
        (self.folder / "junk.gguf").write_bytes(b"not a gguf file")
        self.assert_refused(self.attempt(model=empty), 3, "config.json")
        self.assert_refused(self.attempt(model=self.folder / "absent.gguf"), 3, "absent.gguf")
        self.assert_refused(self.attempt(model=self.folder / "junk.gguf"), 3, "junk.gguf", "GGUF")
        (empty / "config.json").write_text("{}")
        self.assert_refused(self.attempt(model=empty), 3, "nothing")

    def test_an_existing_output_is_kept(self):
        self.record()
        before = self.trace().read_bytes()
        outcome = self.attempt()
        self.assertEqual((outcome.code, self.trace().read_bytes()), (2, before))
        self.assertIn("--force", outcome.err)
        self.record("--force")
        self.assertNotEqual(self.trace().read_bytes(), b"")

    def test_a_failed_run_keeps_the_output_that_it_would_have_replaced(self):
        self.record()
        before = self.trace().read_bytes()
        self.assertEqual(self.attempt("--force", model=self.model("gpt_oss")).code, 3)
        self.assertEqual(self.trace().read_bytes(), before)

    def test_an_output_in_no_folder(self):
        outcome = run_recorder(
            "--model",
            self.model(),
            "--prompts",
            self.prompts({"name": "a", "text": "b"}),
            "--output",
            self.folder / "absent" / "t.h5",
        )
        self.assertEqual(outcome.code, 2)

    def test_usage_errors(self):
        for arguments in (
            ["--layers", "3"],
            ["--layers", "x"],
            ["--decode", "-1"],
            ["--dtype", "float8"],
            ["--threads", "0"],
            ["--query-spans", "a b"],
            ["--unknown"],
            ["--lay", "1"],
            ["--device", "abacus"],
        ):
            with self.subTest(arguments):
                self.assert_refused(self.attempt(*arguments), 2)

    def test_nothing_to_record(self):
        self.assert_refused(self.attempt("--decode", 0, "--query-spans", "last:0"), 3, "no queries")

    def test_a_failure_while_decoding_leaves_nothing(self):
        for error, code, words in (
            (KeyboardInterrupt(), 130, "interrupted"),
            (OSError("disk full\nmore"), 1, "disk full"),
        ):
            with (
                self.subTest(error),
                mock.patch("kvreplay.recorder.trace_file.TraceFile.write_layer", side_effect=error),
            ):
                self.assert_refused(self.attempt(), code, words)

    def test_a_terminated_command_leaves_nothing(self):
        prompts = self.prompts(*({"name": f"p{i}", "text": "ab " * 100} for i in range(200)))
        command = [
            sys.executable,
            "-m",
            "kvreplay.commands.record",
            "--model",
            self.model(),
            "--prompts",
            prompts,
            "--output",
            self.trace(),
            "--decode",
            "100",
            "--threads",
            "1",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self.assertIn("p0", process.stdout.readline())  # by now it is at work
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
        self.assertEqual(list(self.folder.glob(self.trace().name + "*")), [])

    def test_help_needs_no_model_libraries(self):
        for program in ("record", "train", "validate"):
            code = f"import sys; import kvreplay.commands.{program}; sys.exit('torch' in sys.modules)"
            self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0, program)

    def test_the_script_and_its_old_path_are_one_program(self):
        for command in (
            [Path(sys.executable).with_name("kvreplay-record")],
            [sys.executable, ROOT / "tools/record.py"],
        ):
            done = subprocess.run([*command, "--help"], capture_output=True, text=True)
            self.assertIn("usage: kvreplay record", done.stdout)
            self.assertIn("prompts file", done.stdout)
