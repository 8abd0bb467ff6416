"""Loading a model runs no code of its folder: neither its Python files nor what pickled weights hold."""

import json
import pickle
import shutil
from pathlib import Path
from unittest import mock

import torch

from kvreplay.commands.validate import build_parser
from kvreplay.common.errors import InputError
from kvreplay.common.model_loader import load_model, open_model
from kvreplay.learning import apply_live
from tests.support.python.recording import TEXT, RecorderTest


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


class ModelLoader(RecorderTest):
    def copy(self, name: str) -> Path:
        """A model's folder that can be altered."""
        return Path(shutil.copytree(self.model(), self.folder / name))

    def pickled(self, name: str, save=torch.save) -> Path:
        """A model whose weights are pytorch_model.bin; `save(weights, path)` writes them."""
        from safetensors.torch import load_file

        folder = self.copy(name)
        save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        return folder

    def change_json(self, path: Path, **fields) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def custom(self, name: str, file: str, **fields) -> Path:
        """A model with Python code of its own, named in `file`."""
        folder = self.copy(name)
        (folder / "code.py").write_text(f"open({str(self.folder / 'ran')!r}, 'w')\nclass Mine: pass\n")
        self.change_json(folder / file, **fields)
        return folder

    def test_code_of_a_model_is_neither_run_nor_asked_about(self):
        names = {name: "code.Mine" for name in ("AutoConfig", "AutoModelForCausalLM")}
        model = self.custom("own-model", "config.json", model_type="mine", auto_map=names)
        tokenizer = self.custom(
            "own-tokenizer",
            "tokenizer_config.json",
            tokenizer_class="Mine",
            auto_map={"AutoTokenizer": ["code.Mine", None]},
        )
        with mock.patch("builtins.input", side_effect=AssertionError("asked")):
            for folder, what in ((model, "the model"), (tokenizer, "its tokenizer")):
                with self.subTest(folder.name):
                    outcome = self.attempt(model=folder)
                    self.assert_refused(outcome, 3, f"{folder}: {what} needs Python code of its own", "never run")
        self.assertFalse((self.folder / "ran").exists())

    def test_pickled_weights_are_refused_unless_they_are_allowed(self):
        folder = self.pickled("pickled")
        refused = self.attempt(model=folder)
        self.assert_refused(refused, 3, f"{folder}/pytorch_model.bin: pickled weights", "--allow-pickled-weights")
        self.record("--allow-pickled-weights", model=folder)
        options = build_parser().parse_args(["--model", "m", "--replay", "a", "b", "c", "--allow-pickled-weights"])
        self.assertTrue(options.allow_pickled_weights)
        live = ["--model", folder, "--policy", "p.h5", "--prompts", self.prompts({"name": "a", "text": TEXT})]
        self.assertEqual(apply_live.main([str(argument) for argument in live]), 3)

    def test_weights_that_an_index_or_the_configuration_names_are_no_way_around(self):
        index = self.pickled("index")
        weights = torch.load(index / "pytorch_model.bin", weights_only=True)
        (index / "pytorch_model.bin").rename(index / "shard.bin")
        named = {"metadata": {}, "weight_map": dict.fromkeys(weights, "shard.bin")}
        (index / "model.safetensors.index.json").write_text(json.dumps(named))
        configured = self.pickled("configured")
        (configured / "pytorch_model.bin").rename(configured / "adapter_model.bin")
        self.change_json(configured / "config.json", transformers_weights="adapter_model.bin")
        for folder, file in ((index, "shard.bin"), (configured, "adapter_model.bin")):
            with self.subTest(folder.name):
                outcome = self.attempt(model=folder)
                self.assert_refused(outcome, 3, f"{folder}/{file}: pickled weights", "--allow-pickled-weights")

    def test_code_in_weights_that_are_allowed_is_not_run(self):
        def save(weights, path):
            path.write_bytes(pickle.dumps({**weights, "trap": Trap(self.folder / "ran")}))

        outcome = self.attempt("--allow-pickled-weights", model=self.pickled("trapped", save))
        self.assert_refused(outcome, 3, "its pickled weights hold more than tensors")
        self.assertFalse((self.folder / "ran").exists())

    def test_loading_leaves_torch_as_it_was(self):
        original = torch.load
        load_model(open_model(self.model(), None), "sdpa", "float32", "cpu")
        self.assertIs(torch.load, original)
        with self.assertRaises(InputError):
            load_model(open_model(self.pickled("left"), None), "sdpa", "float32", "cpu")
        self.assertIs(torch.load, original)
