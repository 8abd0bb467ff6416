"""Tiny models in memory, as a user has them, and traces compared with each other."""

import contextlib
import tempfile
import unittest
from pathlib import Path

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM

import kvreplay as kr
from tests.support.python.recording import TEXT
from tests.support.python.tiny_models import save_tiny_model, tiny_tokenizer

DECODE = 6


class LiveTest(unittest.TestCase):
    """A test case with a scratch folder, and models in memory, made once per kind for the whole class."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls._models = {}
        cls.tokenizer = tiny_tokenizer()
        cls.tokenizer.pad_token, cls.tokenizer.padding_side = cls.tokenizer.eos_token, "left"

    def model(self, kind: str = "llama", **settings):
        key = (kind, *sorted(settings.items()))
        if key not in self._models:
            path = self.folder / "models" / kind
            if not path.exists():
                save_tiny_model(path, kind)
            self._models[key] = AutoModelForCausalLM.from_pretrained(path, **settings)
        return self._models[key]

    def path(self, name: str = "t") -> Path:
        return self.folder / f"{self.id().rsplit('.', 1)[1]}-{name}.h5"

    @contextlib.contextmanager
    def recording(self, model, name: str = "t", **options):
        """float32, with the tokenizer."""
        options = {"tokenizer": self.tokenizer, "dtype": "float32", **options}
        with kr.recording(model, self.path(name), **options) as handle:
            yield handle

    def open(self, name: str = "t") -> h5py.File:
        return self.enterContext(h5py.File(self.path(name)))

    def ids(self, text: str = TEXT, **options) -> dict:
        return dict(self.tokenizer(text, return_tensors="pt", **options))

    def generate(self, model, text: str | list[str] = TEXT, n: int = DECODE, **options) -> torch.Tensor:
        """So many new tokens, whatever the model says, each of which but the last is read."""
        inputs = self.ids(text, padding=isinstance(text, list))
        return model.generate(**inputs, **{"max_new_tokens": n, "min_new_tokens": n, "do_sample": False, **options})

    def assert_nothing_left(self, name: str = "t") -> None:
        self.assertEqual(list(self.folder.glob(self.path(name).name + "*")), [])


def datasets(group: h5py.Group) -> dict[str, np.ndarray]:
    """All arrays below a group by their path."""
    found = {}
    group.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def differences(a: h5py.Group, b: h5py.Group) -> list[str]:
    """Names of the arrays and attributes below that are not the same, bit for bit."""
    one, other = datasets(a), datasets(b)
    unlike = [name for name in one.keys() | other.keys() if name not in one or name not in other]
    unlike += [name for name in one.keys() & other.keys() if not np.array_equal(one[name], other[name])]
    return sorted(unlike) + [name for name in a.attrs if not np.array_equal(a.attrs[name], b.attrs.get(name))]
