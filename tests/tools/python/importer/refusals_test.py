"""What cannot be imported is refused in one line, and nothing is left behind; no file's code is run."""

import json
import pickle
import struct
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.numpy import save_file

from tests.support.python.exported_trace import PLAIN, ImporterTest, random_tensors
from tests.support.python.paths import ROOT

STATE = ROOT / "tests" / "tools" / "python" / "importer" / "states" / "version-4.bin"


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/kvreplay-import-was-fooled"),))


class Maps(ImporterTest):
    def refuse(self, text: str, *words: str) -> None:
        self.file("map.toml", text)
        with self.subTest(text):
            self.assert_refused(self.attempt(self.npz(**random_tensors())), 3, "map.toml", *words)

    def test_mistakes_in_a_map_are_named(self):
        self.refuse('axes = ["head"]\nkys = "k"', "unknown key 'kys'", "did you mean 'keys'")
        self.refuse('keys = "k{layer}"', "expected 'values'")
        self.refuse(PLAIN + "keys = 1", "is no TOML")
        self.refuse(PLAIN.replace('"k{layer}"', "3"), "keys", "expected text, found 3")
        self.refuse(PLAIN.replace("k{layer}", "k{lair}"), "{layer} or {sample}", "{lair}")
        self.refuse(PLAIN.replace("k{layer}", "k"), "keys", "expected {layer}")
        self.refuse(PLAIN.replace("k{layer}", "k{layer}.{layer}"), "twice")
        self.refuse(PLAIN.replace('"token"', '"tokens"'), "unknown axis 'tokens'", "did you mean 'token'")
        self.refuse(PLAIN.replace('"token", ', ""), "expected an axis 'token'")
        self.refuse(PLAIN.replace('"token"', '"token", "token"'), "each axis once")
        self.refuse(PLAIN.replace('"token"', '"(token batch)"'), "axes of their own")
        self.refuse(PLAIN + 'rope = "later"', "unknown state 'later'", "after, before, none")
        self.refuse(PLAIN + "[model]\nn_head = 3", "unknown key 'n_head'", "n_q_heads")
        self.refuse(PLAIN + '[model]\nn_layers = "2"', "model.n_layers", "'2'")
        self.refuse(PLAIN + "[sample]\ndecode_begin = 3", "unknown key 'decode_begin'")
        self.refuse(PLAIN + "[sample]\nspans = { a = 3 }", "[begin, end]", "found 3")

    def test_a_map_is_a_file_or_one_that_comes_along(self):
        path = self.npz(**random_tensors())
        self.assert_refused(self.attempt(path, map="transformerslens"), 2, "did you mean 'transformerlens'")
        self.assert_refused(self.attempt(path, map=self.folder / "no.toml"), 3, "no.toml", "cannot be read")
        (self.folder / "raw.toml").write_bytes(b"\xff\xfe")
        self.assert_refused(self.attempt(path, map=self.folder / "raw.toml"), 3, "UTF-8")

    def test_only_files_of_the_command_line_are_read(self):
        """A name in a map picks among them; it opens nothing."""
        self.npz("b.npz", **random_tensors())
        self.file("map.toml", PLAIN + 'file = "../../b.npz"')
        self.assert_refused(self.attempt(self.npz(**random_tensors())), 3, "a.npz", "is not like '../../b.npz'")

    def test_positions_lie_within_the_tokens(self):
        path = self.npz(**random_tensors())
        for options, words in (
            (("--decode-start", "13"), ("decode_start", "1 to 12", "13")),
            (("--compression-point", "a=12"), ("'a'", "1 to 11", "12")),
            (("--compression-point", "a/b=3"), ("'a/b'",)),
        ):
            with self.subTest(options):
                self.assert_refused(self.attempt(path, options=options), 3, *words)
        self.assert_refused(self.attempt(path, options=("--compression-point", "a")), 2, "NAME=N")


class Tensors(ImporterTest):
    def refuse(self, tensors: dict, *words: str, options: tuple = ()) -> None:
        with self.subTest(words):
            self.assert_refused(self.attempt(self.npz(**tensors), options=options), 3, "a.npz", *words)

    def changed(self, **changes) -> dict:
        tensors = {**random_tensors(), **changes}
        return {name: array for name, array in tensors.items() if array is not None}

    def test_missing_and_misshapen_tensors_are_named(self):
        good = random_tensors()
        self.refuse({"x": np.zeros(3)}, "k{layer}", "there are 'x'")
        self.refuse(self.changed(k0=good["k0"][:1]), "'k0'", "expected 2 along 'head'", "found 1")
        self.refuse(self.changed(k0=good["k0"][0]), "'k0'", "expected 3 axes")
        self.refuse(self.changed(k1=good["k1"][:, :5]), "'k1'", "expected 12 tokens", "found 5")
        self.refuse({name: array[:, :0] for name, array in good.items()}, "1 to", "found 0")
        self.refuse(self.changed(k0=good["k0"].astype(np.int32)), "'k0'", "floating-point", "int32")
        self.refuse(self.changed(k0=good["k0"].astype(np.float64)), "float64", "--dtype")
        self.refuse(self.changed(k0=good["k0"].astype(np.float16)), "'k0'", "float16", "--dtype")
        self.refuse(self.changed(k0=good["k0"] * 1e6), "beyond float16", options=("--dtype", "float16"))

    def test_layers_are_the_same_everywhere(self):
        for gone, words in (("v1", "'v1'"), ("q0", "'q0'")):
            with self.subTest(gone):
                outcome = self.attempt(self.npz(**self.changed(**{gone: None})))
                self.assert_refused(outcome, 3, f"layer {gone[1]}", words)
        both = [self.npz("a.npz", **random_tensors()), self.npz("b.npz", **random_tensors(n_layers=1))]
        self.assert_refused(self.attempt(*both), 3, "layer 1", "sample 'b'", "sample 'a'")
        more = self.npz(**random_tensors(n_layers=3))
        self.assert_refused(self.attempt(more), 3, "layer 2 is among the tensors", "2 layers")
        self.file("map.toml", PLAIN + 'file = "{sample}-*"')
        twice = [self.npz(f"a-{i}.npz", **random_tensors()) for i in range(2)]
        self.assert_refused(self.attempt(*twice), 3, "queries of layer 0", "a-0.npz", "too")

    def test_values_are_finite(self):
        for value in (np.nan, np.inf):
            tensors = random_tensors()
            tensors["v1"][1, 7, 3] = value
            self.refuse(tensors, "'v1'", "head 1, token 7, channel 3", str(value))
        bits = {name: torch.from_numpy(array).bfloat16() for name, array in tensors.items()}
        torch.save(bits, self.folder / "a.pt")
        self.assert_refused(self.attempt(self.folder / "a.pt"), 3, "a.pt", "token 7", "inf")

    def test_what_was_there_stays_where_an_import_fails(self):
        self.trace.write_text("precious")
        tensors = random_tensors()
        tensors["v1"][:] = np.nan
        self.assertEqual(self.attempt(self.npz(**tensors)).code, 3)
        self.assertEqual(self.trace.read_text(), "precious")
        self.assertEqual(list(self.folder.glob("*.tmp")), [])

    def test_an_input_is_never_the_output(self):
        path = self.npz(**random_tensors())
        from tests.support.python.exported_trace import run_importer

        outcome = run_importer(self.map, path, "--config", self.config, "-o", path, "--force")
        self.assertEqual(outcome.code, 2)
        self.assertIn("would be lost", outcome.err)

    def test_token_ids_are_ids(self):
        self.file("map.toml", PLAIN + 'token_ids = "ids"')
        self.refuse(self.changed(ids=np.arange(5)), "'ids'", "expected 12 token ids")
        self.refuse(self.changed(ids=-np.arange(12)), "'ids'", "from 0")
        self.refuse(self.changed(ids=np.zeros(12)), "'ids'", "expected integers", "float64")


class Files(ImporterTest):
    def refuse_bytes(self, name: str, raw: bytes, *words: str, map: object = None) -> None:
        path = self.folder / name
        path.write_bytes(raw)
        with self.subTest(name, size=len(raw)):
            self.assert_refused(self.attempt(path, map=map), 3, name, *words)

    def test_pickles_are_never_run(self):
        torch.save({"k0": torch.zeros(1), "x": Bomb()}, self.folder / "a.pt")
        self.assert_refused(self.attempt(self.folder / "a.pt"), 3, "a.pt", "weights_only")
        self.refuse_bytes("b.pt", pickle.dumps(Bomb()), "bare pickle")
        np.savez(self.folder / "c.npz", k0=np.array([Bomb()], dtype=object))
        self.assert_refused(self.attempt(self.folder / "c.npz"), 3, "c.npz", "pickled")
        self.assertFalse(Path("/tmp/kvreplay-import-was-fooled").exists())

    def test_files_that_end_early_are_refused(self):
        tensors = random_tensors()
        save_file(tensors, self.folder / "whole.safetensors")
        torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, self.folder / "whole.pt")
        self.npz("whole.npz", **tensors)
        for kind in ("safetensors", "pt", "npz"):
            raw = (self.folder / f"whole.{kind}").read_bytes()
            for share in (0.01, 0.5, 0.99):
                self.refuse_bytes(f"cut.{kind}", raw[: int(len(raw) * share)])
        raw = STATE.read_bytes()
        for n in range(4, len(raw), 97):
            self.refuse_bytes("cut.bin", raw[:n], map="llama-cpp")

    def test_other_files_are_refused(self):
        for raw in (b"", b"#!/bin/sh\n", b"\x89HDF\r\n\x1a\n" + bytes(100)):
            self.refuse_bytes("other.dat", raw, "found another kind")
        self.assert_refused(self.attempt(self.folder / "no.npz"), 3, "no.npz", "cannot be read")
        self.assert_refused(self.attempt(Path("/dev/zero")), 3, "/dev/zero", "regular file")

    def test_sizes_that_no_tensor_has_take_no_memory(self):
        header = json.dumps({"k0": {"dtype": "F32", "shape": [2, 2**40, 8], "data_offsets": [0, 2**45]}}).encode()
        self.refuse_bytes("a.safetensors", struct.pack("<Q", len(header)) + header)
        self.refuse_bytes("b.safetensors", struct.pack("<Q", 2**60) + b"{" + bytes(100))
        storage = torch.zeros(8)
        torch.save({"k0": storage.as_strided((2, 2**30, 8), (0, 0, 1))}, self.folder / "c.pt")
        self.assert_refused(self.attempt(self.folder / "c.pt"), 3, "c.pt", "'k0'", "cannot hold")
        with zipfile.ZipFile(self.folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("k0.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(
                    stream, {"descr": "<f4", "fortran_order": False, "shape": (2, 2**20, 8)}
                )
                for _ in range(64):
                    stream.write(bytes(2**20))
        self.assert_refused(self.attempt(self.folder / "d.npz"), 3, "d.npz", "'k0'", "no keys and values do")

    def test_states_of_llama_cpp_that_are_not_read_are_named(self):
        whole = STATE.read_bytes()

        def patched(at: int, *numbers: int) -> bytes:
            packed = struct.pack(f"<{len(numbers)}I", *numbers)
            return whole[:at] + packed + whole[at + len(packed) :]

        tokens_end = 12 + 40
        cells_end = tokens_end + 8 + 120
        for raw, words in (
            (patched(4, 5), ("version 2 to 4", "found 5")),
            (patched(8, 2**31), ("tokens", str(2**31))),
            (patched(tokens_end, 2), ("one stream", "found 2")),
            (patched(tokens_end + 4, 0), ("empty",)),
            (patched(tokens_end + 4, 2**26), ("ends within",)),
            (patched(tokens_end + 8, 5), ("positions 0 to 9", "found 5")),
            (patched(tokens_end + 12, 2), ("one sequence",)),
            (patched(cells_end, 7), ("transposed or not", "7")),
            (patched(cells_end + 4, 2**30), ("layers",)),
            (patched(cells_end + 8, 1), ("rotated",)),
            (patched(cells_end + 16, 8), ("layers.0.k", "type 8")),
            (patched(cells_end + 20, 3), ("layers.0.k", "rows")),
            (whole + b"more", ("expected its end", "several parts")),
        ):
            self.refuse_bytes("a.bin", raw, *words, map="llama-cpp")

    def test_what_a_package_is_missing_for_is_said(self):
        save_file(random_tensors(), self.folder / "a.safetensors")
        torch.save({"k0": torch.zeros(1)}, self.folder / "b.pt")
        for name, package in (("a.safetensors", "safetensors"), ("b.pt", "torch")):
            with self.subTest(package), mock.patch.dict("sys.modules", {package: None}):
                self.assert_refused(self.attempt(self.folder / name), 2, name, f"pip install {package}")


class Damage(ImporterTest):
    """Bytes changed at random, most of them where files say what they hold."""

    N_EACH = 60

    def damaged(self, raw: bytes, random: np.random.Generator) -> bytes:
        changed = bytearray(raw)
        ends = min(len(raw), 2000)
        for _ in range(random.choice([1, 2, 4, 8])):
            at = random.choice([random.integers(ends), len(raw) - 1 - random.integers(ends), random.integers(len(raw))])
            changed[at] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
        return bytes(changed if random.random() > 0.1 else changed[: random.integers(len(raw))])

    def test_damaged_files_are_read_or_refused_in_one_line(self):
        tensors = random_tensors()
        save_file(tensors, self.folder / "a.safetensors")
        self.npz("a.npz", **tensors)
        np.savez_compressed(self.folder / "b.npz", **tensors)
        torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, self.folder / "a.pt")
        random = np.random.default_rng(7)
        n_refused = 0
        for path in (
            self.folder / "a.safetensors",
            self.folder / "a.npz",
            self.folder / "b.npz",
            self.folder / "a.pt",
            STATE,
        ):
            if path == STATE:
                self.file(
                    "config.json", self.config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
                )
            raw = path.read_bytes()
            for _ in range(self.N_EACH):
                damaged = self.folder / f"damaged{path.suffix}"
                damaged.write_bytes(self.damaged(raw, random))
                outcome = self.attempt(damaged, map="llama-cpp" if path == STATE else None)
                if outcome.code == 0:
                    self.assertEqual(outcome.err, "")
                    self.trace.unlink()
                else:
                    n_refused += 1
                    self.assert_refused(outcome, 3)
        self.assertGreater(n_refused, self.N_EACH)


class ConsoleScript(ImporterTest):
    def test_help_lists_the_ready_maps(self):
        from kvreplay.importer.command_line import build_parser

        text = build_parser().format_help()
        for name in ("transformerlens", "vllm", "llama-cpp", "past-key-values", "plain"):
            self.assertIn(f"\n  {name}\n", text)
