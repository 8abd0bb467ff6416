"""The prompt with a shade behind every token.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/plot/tokens_test.py
"""

import json
import os
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from kvreplay import plot
from kvreplay.common.errors import InputError, UsageError
from tests.support.python.paths import ROOT
from tests.support.python.small_results import PROGRAM, TRACE, run

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    "\u202eabc\x1b",
]


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


class Sets(unittest.TestCase):
    """Files written here are opened unchecked: they are not what the program would write in every detail."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, {"KVREPLAY_TRUST_INPUT": "1"}))

    def write(self, kept, texts=(), spans=(), firsts=None, sample="a", policy="snapkv", **options) -> Path:
        """kept: [layer] of [n_budgets, n_heads, n_tokens]"""
        path = self.folder / "sets.h5"
        strings = h5py.string_dtype()
        with h5py.File(path, "w") as file:
            file.attrs.update(format="kvreplay-retained", format_version="1.1")
            file.attrs["options"] = json.dumps({"budgets": [0.25, 0.5], "budget_kind": "fraction"} | options)
            for layer, sets in enumerate(kept):
                data = file.create_dataset(
                    f"samples/0000/prompt/layers/{layer:02}/retained/{policy}", data=np.array(sets, dtype=np.uint8)
                )
                data.attrs.update(head_axis="kv", first_position=str(firsts[layer] if firsts else 0))
            prompt = file.create_group("prompts/0000")
            prompt.attrs.update(name=sample, decode_start="4")
            if len(texts):
                prompt.create_dataset("token_texts", data=list(texts), dtype=strings)
            if spans:
                prompt.create_dataset("spans/name", data=[name for name, _, _ in spans], dtype=strings)
                prompt["spans/begin"] = [begin for _, begin, _ in spans]
                prompt["spans/end"] = [end for _, _, end in spans]
        return path

    def test_shares_are_of_the_sets_of_all_layers_and_heads(self):
        # Two layers of two heads at the budget of a half: 4 sets. Token 0 in 4 of them, 1 in 1, 2 in none, 3 in 3.
        first, second = [[1, 1, 0, 1], [1, 0, 0, 1]], [[1, 0, 0, 1], [1, 0, 0, 0]]
        none = np.zeros((2, 4))
        path = self.write([[none, first], [none, second]], ["Once", " upon", " a", " time"], [("needle", 1, 3)])
        shown = plot.tokens(path, "a@prompt", "snapkv", budget=0.5)
        np.testing.assert_allclose(shown.share, [1, 0.25, 0, 0.75])
        self.assertEqual((shown.n_sets, shown.texts), (4, ["Once", " upon", " a", " time"]))
        # Of the span (0.25 + 0) / 2, of all 2 / 4.
        self.assertIn("keeps 50 % of 4 tokens, needle 12.5 %", shown.summary())
        self.assertEqual(plot.tokens(path, "a@prompt", "snapkv", budget=0.2).share.tolist(), [0, 0, 0, 0])
        page = Page(shown._repr_html_())
        self.assertTrue(page.text.endswith("Once upon a time"))
        underlined = [
            about for tag, about in page.tags if "border-bottom" in about.get("style", "") and "title" in about
        ]
        self.assertEqual(
            [about["title"] for about in underlined],
            ["token 1: kept in 25 % of the sets", "token 2: kept in 0 % of the sets"],
        )

    def test_tokens_outside_a_window_count_for_the_other_layers_alone(self):
        # Layer 1 sees tokens 2 and 3; layer 0 tokens 1 to 3. Token 0 is in no window.
        path = self.write(
            [[np.zeros((1, 3)), [[1, 0, 1]]], [np.zeros((1, 2)), [[1, 1]]]], ["a", "b", "c", "d"], firsts=[1, 2]
        )
        shown = plot.tokens(path, "a@prompt", "snapkv", budget=0.5)
        np.testing.assert_allclose(shown.share, [np.nan, 1, 0.5, 1])
        self.assertIn("token 0: out of every window", shown._repr_html_())

    def test_hostile_texts_are_text(self):
        names = dict(sample=HOSTILE[0], policy=HOSTILE[2])
        path = self.write([[np.ones((1, 4)), np.eye(4)[:1]]], HOSTILE, [(HOSTILE[1], 0, 2)], **names)
        shown = plot.tokens(path, f"{HOSTILE[0]}@prompt", HOSTILE[2], budget=0.5)
        page = Page(shown._repr_html_())
        self.assertEqual({tag for tag, _ in page.tags}, {"div", "span", "br"})
        self.assertEqual({name for _, about in page.tags for name in about}, {"style", "title"})
        for text in HOSTILE[:3]:
            self.assertIn(text, page.text)
        self.assertIn("\\u202eabc\\x1b", page.text)  # nothing turns the direction of what follows
        self.assertNotIn("\u202e", page.text)
        self.assertNotIn("\x1b", repr(shown))

    def test_tokens_of_one_look_are_one_element(self):
        n = 3000
        path = self.write([[np.ones((1, n)), (np.arange(n) < 1000)[None]]], ["x"] * n)
        page = Page(plot.tokens(path, "a@prompt", "snapkv", budget=0.5)._repr_html_())
        self.assertEqual(sum("title" in about for _, about in page.tags), 2)
        self.assertEqual(page.text.count("x"), n)

    def test_long_prompts_are_shown_at_both_ends(self):
        n = 30_000
        path = self.write([[np.ones((1, n)), (np.arange(n) % 2)[None]]], [f"<{i}>" for i in range(n)])
        shown = plot.tokens(path, "a@prompt", "snapkv", budget=0.5)
        page = Page(shown._repr_html_())
        self.assertLessEqual(len(page.tags), 20_100)
        for text in ("<0>", "<9999>", "<20000>", "<29999>", "10,000 tokens in between are not shown"):
            self.assertIn(text, page.text)
        self.assertNotIn("<10000>", page.text)
        self.assertEqual(len(shown.share), n)

    def test_without_texts_the_shares_are_shown(self):
        path = self.write([[np.ones((1, 4)), np.eye(4)[:1]]])
        self.assertTrue(Page(plot.tokens(path, "a@prompt", "snapkv", budget=0.5)._repr_html_()).text.endswith("▪" * 4))

    def test_budgets_are_found_in_their_own_kind(self):
        sets = [[np.zeros((1, 4)), np.ones((1, 4))]]
        tokens = self.write(sets, budgets=[1, 3], budget_kind="tokens")
        self.assertEqual(plot.tokens(tokens, "a@prompt", "snapkv", budget=0.9).budget, "3 tokens")
        self.assertEqual(plot.tokens(tokens, "a@prompt", "snapkv", budget=1).budget, "1 tokens")
        ratios = self.write(sets, budgets=[0.9, 0.5], budget_kind="compression_ratio")
        self.assertEqual(plot.tokens(ratios, "a@prompt", "snapkv", budget=0.1).budget, "10 %")

    def test_wrong_names_and_files_are_refused(self):
        path = self.write([[np.ones((1, 4)), np.ones((1, 4))]])
        with self.assertRaisesRegex(UsageError, "unknown case 'a@promt'; did you mean 'a@prompt'"):
            plot.tokens(path, "a@promt", "snapkv")
        with self.assertRaisesRegex(UsageError, "unknown policy 'snapvk'; did you mean 'snapkv'"):
            plot.tokens(path, "a@prompt", "snapvk")
        with h5py.File(path, "r+") as file:
            sets = file["samples/0000/prompt/layers/00/retained/snapkv"]
            for first, words in (("9" * 18, "to end at one position"), ("-1", "from '-1' on")):
                sets.attrs["first_position"] = first
                file.flush()
                with self.assertRaisesRegex(InputError, words):
                    plot.tokens(path, "a@prompt", "snapkv")
            del sets.attrs["first_position"]
            file.flush()
            with self.assertRaisesRegex(
                InputError, "sets.h5: /samples/.*/snapkv: expected .* found .* from 'nothing' on"
            ):
                plot.tokens(path, "a@prompt", "snapkv")
            sets.attrs["first_position"] = "0"
            file.attrs["options"] = "{}"
        with self.assertRaisesRegex(InputError, "attribute options: expected the budgets of a replay"):
            plot.tokens(path, "a@prompt", "snapkv")
        with self.assertRaisesRegex(
            InputError, "expected a file of the format kvreplay-retained, found kvreplay-trace"
        ):
            plot.tokens(TRACE, "needle@prompt", "snapkv")


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class RealSets(unittest.TestCase):
    def test_the_shares_of_the_shipped_trace_are_those_of_its_results(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            run(
                "replay",
                TRACE,
                "-p",
                "snapkv",
                "-b",
                "0.1,0.5",
                "-o",
                folder / "r.h5",
                "--save-retained",
                folder / "s.h5",
            )
            shown = plot.tokens(folder / "s.h5", "needle@prompt", "snapkv", budget=0.1)
            kept = plot.pool(folder / "r.h5", "kept_fraction", point="prompt", policy="snapkv", budget=0.1)
            recall = plot.pool(
                folder / "r.h5", "needle_recall", point="prompt", policy="snapkv", budget=0.1, span="needle"
            )
            span = next(span for span in shown.spans if span.name == "needle")
            self.assertAlmostEqual(shown.share.mean(), float(kept))
            self.assertAlmostEqual(shown.share[span.begin : span.end].mean(), float(recall))
            self.assertIn("You are a helpful AI assistant", "".join(shown.texts))

    def test_sets_of_format_1_0_need_their_trace(self):
        folder = ROOT / "tests/golden/formats"
        with self.assertRaisesRegex(UsageError, "is of format 1.0 .* name its trace"):
            plot.tokens(folder / "retained.h5", "synthetic-0000@prompt", "random", budget=0.5)
        shown = plot.tokens(
            folder / "retained.h5", "synthetic-0000@prompt", "random", budget=0.5, trace=folder / "trace.h5"
        )
        self.assertAlmostEqual(shown.share.mean(), 0.5, places=1)
        other = "retained.h5: is not of the trace .*smollm2-needle.h5: it is of .'67b82e940a56e02556ff692962585f71'., that is"
        with self.assertRaisesRegex(InputError, other):
            plot.tokens(folder / "retained.h5", "synthetic-0000@prompt", "random", trace=TRACE)


if __name__ == "__main__":
    unittest.main()
