"""Prompts of LongBench, RULER and kvpress's evaluations, by records with the fields that theirs have."""

import json
import tempfile
import unittest
from pathlib import Path

import h5py

from kvreplay.common.benchmark_prompts import read_prompts_as
from kvreplay.common.errors import InputError
from tests.support.python.recording import RecorderTest

LONGBENCH = {
    "input": "Where is the cat?",
    "context": "Passage 1:\nThe cat is on the mat.\n\nPassage 2:\nThe dog is out.",
    "answers": ["on the mat", "mat"],
    "length": 14,
    "dataset": "hotpotqa",
    "language": "en",
    "all_classes": None,
    "_id": "5a8b57f2",
}
RULER = {
    "index": 71,
    "input": "A special magic number is hidden within the following text. Make sure to memorize it.\nThe grass is green. One of "
    "the special magic numbers for tall-tree is: 7361524.\nWhat is the special magic number for tall-tree mentioned in the "
    "provided text?",
    "outputs": ["7361524"],
    "length": 60,
    "length_w_model_temp": 60,
    "answer_prefix": " The special magic number for tall-tree mentioned in the provided text is",
    "token_position_answer": 30,
}
KVPRESS = {
    "context": "The grass is green. The code is 7361.\n",
    "question": "What is the code?\n",
    "answer_prefix": "The code is",
    "answer": ["7361"],
    "task": "niah_single_1",
    "max_new_tokens": 128,
}


def marked(prompt) -> list[tuple[str, str]]:
    text = prompt.text or prompt.messages[0].content
    return [(span.name, text.text[span.begin : span.end]) for span in text.spans]


class Benchmarks(unittest.TestCase):
    def setUp(self):
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "data.jsonl"

    def read(self, file_format: str, *records):
        self.path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return read_prompts_as(file_format, self.path)

    def test_longbench(self):
        first, second = self.read("longbench", LONGBENCH, LONGBENCH | {"input": ""})
        self.assertEqual((first.name, second.name), ("hotpotqa-1", "hotpotqa-2"))
        self.assertEqual(first.messages[0].content.text, LONGBENCH["context"] + "\n\nWhere is the cat?")
        self.assertEqual(second.messages[0].content.text, LONGBENCH["context"])
        needles = [("needle", "on the mat"), ("needle", "mat")]
        self.assertEqual(
            marked(first), [("context", LONGBENCH["context"]), ("question", "Where is the cat?"), *needles]
        )
        self.assertEqual(marked(second), [("context", LONGBENCH["context"]), *needles])

    def test_ruler(self):
        (prompt,) = self.read("ruler", RULER)
        context, question = RULER["input"].rsplit("\n", 1)
        self.assertEqual(prompt.text.text, RULER["input"])
        self.assertEqual(marked(prompt), [("context", context), ("question", question), ("needle", "7361524")])
        self.assertEqual(prompt.answer_prefix, RULER["answer_prefix"])

    def test_rulers_other_tasks(self):
        for question in (
            "Question: Find all variables that are assigned the value 12345 in the text above.",
            "Question: What are the 10 most common words in the above list?",
            "Question: Do not provide any explanation. What are the three most frequently appeared words in the above text?",
            "What are all the special magic numbers for a, b, and c mentioned in the provided text?",
            "Question: who is it Answer:",  # older files: with the answer's prefix, and without line breaks
        ):
            with self.subTest(question):
                record = {"index": 0, "input": f"Some text. Question: an old one. {question}", "outputs": ["x"]}
                (prompt,) = self.read("ruler", record)
                self.assertEqual(marked(prompt)[1], ("question", question))

    def test_kvpress(self):
        (prompt,) = self.read("kvpress", KVPRESS)
        self.assertEqual(prompt.name, "niah_single_1-1")
        self.assertEqual(
            marked(prompt), [("context", KVPRESS["context"]), ("question", KVPRESS["question"]), ("needle", "7361")]
        )
        self.assertEqual(prompt.answer_prefix, "The code is")
        (plural,) = self.read("kvpress", KVPRESS | {"answer": None, "answers": ["green"]})
        self.assertEqual(marked(plural)[2], ("needle", "green"))

    def test_an_answer_that_occurs_twice_or_never_is_no_needle(self):
        for answers in (["The"], ["the bird"], [""], []):
            self.assertEqual(len(marked(self.read("longbench", LONGBENCH | {"answers": answers})[0])), 2)

    def test_errors_name_file_line_field_expected_and_found(self):
        without = {key: value for key, value in LONGBENCH.items() if key != "context"}
        for file_format, record, words in (
            ("longbench", without, "field 'context': expected a text that is not empty, found nothing"),
            ("longbench", LONGBENCH | {"context": 7}, "field 'context': expected a text that is not empty, found 7"),
            ("longbench", LONGBENCH | {"input": ["a"]}, "field 'input': expected a text, found [\"a\"]"),
            ("longbench", LONGBENCH | {"answers": {"a": 1}}, "field 'answers': expected a text or a list of texts"),
            ("longbench", LONGBENCH | {"context": "\ud800"}, "field 'context': expected valid Unicode"),
            ("ruler", RULER | {"input": ""}, "field 'input': expected a text that is not empty, found an empty text"),
            ("ruler", RULER | {"input": "no more"}, "field 'input': expected a context, then 'Question: ...'"),
            ("kvpress", KVPRESS | {"question": 1.5}, "field 'question': expected a text, found 1.5"),
            ("kvpress", [1], "expected a JSON object, found [1]"),
        ):
            good = {"longbench": LONGBENCH, "ruler": RULER, "kvpress": KVPRESS}[file_format]
            with self.subTest(words), self.assertRaises(InputError) as raised:
                self.read(file_format, good, record)
            self.assertTrue(str(raised.exception).startswith(f"{self.path}:2: {words}"), raised.exception)
        with self.assertRaisesRegex(InputError, "no prompts"):
            self.read("ruler")


class Recorded(RecorderTest):
    def recorded(self, file_format: str, record: dict, model: Path) -> h5py.Group:
        self.record("--decode", 2, "--force", "--format", file_format, model=model, prompts=self.prompts(record))
        trace = h5py.File(self.trace())
        self.addCleanup(trace.close)
        return trace["samples/0000"]

    def text(self, sample: h5py.Group) -> str:
        return b"".join(sample["token_texts"][: sample.attrs["decode_start"]]).decode()

    def test_messages_are_rendered_where_the_model_has_a_template_and_plain_where_it_has_none(self):
        asked = KVPRESS["context"] + KVPRESS["question"]
        chat = f"<|begin|>user\n{asked.strip()}<|end|>\n<|begin|>assistant\n"
        plain = self.folder / "plain"
        plain.mkdir()
        for file in self.model().iterdir():
            if file.name != "chat_template.jinja":
                (plain / file.name).write_bytes(file.read_bytes())
        config = json.loads((plain / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (plain / "tokenizer_config.json").write_text(json.dumps(config))
        for model, expected in ((self.model(), chat), (plain, f"<|begin|>{asked}")):
            sample = self.recorded("kvpress", KVPRESS, model)
            self.assertEqual(self.text(sample), f"{expected}The code is")
            self.assertEqual([each.decode() for each in sample["spans/name"]], ["context", "needle", "question"])
            self.assertEqual([each.decode() for each in sample["compression_points/name"]], ["context", "prompt"])

    def test_ruler_is_a_plain_text_with_its_answers_prefix(self):
        sample = self.recorded("ruler", RULER, self.model())
        self.assertEqual(self.text(sample), "<|begin|>" + RULER["input"] + RULER["answer_prefix"])

    def test_a_bad_line_is_an_error_of_the_command(self):
        prompts = self.prompts(KVPRESS | {"context": None})
        self.assert_refused(self.attempt("--format", "kvpress", prompts=prompts), 3, f"{prompts}:1: field 'context'")
        self.assert_refused(self.attempt("--format", "squad", prompts=prompts), 2, "squad")
