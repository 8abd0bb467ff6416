"""The prompts of tools/make_training_traces.sh: texts of this machine, cut to size, with needles where they belong."""

import re
import tempfile
import unittest
from pathlib import Path

from kvreplay.common.errors import InputError
from kvreplay.learning.training_prompts import HELD_OUT, TRAINING, Recipe, Source, build_prompt, read_source


def words(text, **_options):
    """A tokenizer of words, with what follows them."""
    return {"offset_mapping": [match.span() for match in re.finditer(r"\S+\s*", text)]}


def plain_text(prompt):
    if "text" in prompt:
        return prompt["text"]
    parts = []
    for message in prompt["messages"]:
        content = [message["content"]] if isinstance(message["content"], str) else message["content"]
        parts += [part if isinstance(part, str) else part["text"] for part in content]
    return "".join(parts)


class PromptsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Words are larger than tokens: half as many are surely there.
        cls.prompts = [
            (recipe, build_prompt("p", Recipe(**{**vars(recipe), "n_tokens": recipe.n_tokens // 2}), words, held))
            for recipes, held in ((TRAINING, False), (HELD_OUT, True))
            for recipe in recipes
        ]

    def test_all_texts_are_on_this_machine_and_no_two_prompts_share_one(self):
        self.assertEqual((len(TRAINING), len(HELD_OUT)), (16, 4))
        texts = [recipe.text.file for recipe, _ in self.prompts]
        self.assertEqual(len(set(texts)), 20)
        self.assertTrue(all(1100 <= recipe.n_tokens <= 2000 for recipe in TRAINING))

    def test_a_needle_stands_in_its_text_on_a_line_of_its_own_and_the_question_ends_the_prompt(self):
        needles = [(recipe, prompt) for recipe, prompt in self.prompts if recipe.kind == "needle"]
        self.assertEqual(len(needles), 7)
        for recipe, prompt in needles:
            text = plain_text(prompt)
            self.assertEqual(text.count("\n" + recipe.needle + "\n"), 1)
            self.assertTrue(text.endswith(recipe.ask))
            depth = text.index(recipe.needle) / len(text)
            self.assertAlmostEqual(depth, recipe.depth, delta=0.15)
            parts = [part for part in prompt["messages"][0]["content"] if isinstance(part, dict)]
            marked = [part for part in parts if "needle" in part["span"]]
            self.assertEqual([part["text"] for part in marked], [recipe.needle + "\n"])

    def test_policies_act_before_the_question_on_held_out_prompts_only(self):
        for recipe, prompt in self.prompts:
            parts = [part for message in prompt.get("messages", []) for part in message["content"]]
            marked = any("context" in part["span"] for part in parts if isinstance(part, dict))
            self.assertEqual(marked, recipe in HELD_OUT and recipe.kind != "plain")

    def test_an_earlier_exchange_comes_before_the_question(self):
        chats = [(recipe, prompt) for recipe, prompt in self.prompts if recipe.turns]
        self.assertEqual(len(chats), 2)
        for recipe, prompt in chats:
            self.assertEqual([message["role"] for message in prompt["messages"]], ["user", "assistant", "user"])
            self.assertEqual(prompt["messages"][1]["content"], recipe.turns[0][1])

    def test_missing_texts_and_short_ones_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.txt"
            with self.assertRaisesRegex(InputError, "a.txt: 0 files match"):
                read_source(Source(str(path)))
            path.write_text("one\ntwo three\nfour\n")
            self.assertEqual(read_source(Source(str(path), "three")), "two three\nfour\n")
            self.assertEqual(read_source(Source(f"{folder}/*.txt")), path.read_text())
            with self.assertRaisesRegex(InputError, "no line holds 'five'"):
                read_source(Source(str(path), "five"))
            with self.assertRaisesRegex(InputError, "a.txt: 4 tokens of this model, 5 are wanted"):
                build_prompt("p", Recipe("plain", Source(str(path)), 5), words, False)


if __name__ == "__main__":
    unittest.main()
