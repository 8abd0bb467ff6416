"""apply_live takes what `kvreplay advise` wrote: presses of kvpress and learned policies keep the share that was advised.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/commands/apply_live_test.py
"""

import contextlib
import io
import json
import os
import subprocess
import unittest
from pathlib import Path

from kvreplay.commands import apply_live, train
from kvreplay.common.advice_file import is_advice, read_advice
from kvreplay.common.errors import InputError
from tests.support.python.kvpress_library import needs_kvpress
from tests.support.python.recording import TEXT, RecorderTest

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")
LONG = " and ".join([TEXT] * 3)


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM is not set to the path of the kvreplay program")
class ApplyAdvice(RecorderTest):
    def advice(self, policy: str, budget: float = 0.4, **changes: object) -> Path:
        said = {"format": "kvreplay-advice", "format_version": "1.0", "policy": policy, "budget": budget}
        said |= {"model_id": "llama", "compression_point": "prompt"} | changes
        path = self.folder / "advice.json"
        path.write_text(json.dumps(said))
        return path

    def apply(self, advice: Path, *more: object) -> tuple[int, list[str], str]:
        out, err = io.StringIO(), io.StringIO()
        words = ["--model", self.model(), "--policy", advice, "--prompts", self.prompts({"name": "a", "text": LONG})]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = apply_live.main([str(word) for word in (*words, "--decode", 6, *more)])
        return code, out.getvalue().splitlines(), err.getvalue()

    def answers(self, advice: Path, *more: object) -> tuple[str, str, str]:
        """The first line, and both answers."""
        code, lines, err = self.apply(advice, *more)
        self.assertEqual(code, 0, err)
        self.assertEqual(len(lines), 3)
        return lines[0], *(line.split(": ", 1)[1] for line in lines[1:])

    @needs_kvpress
    def test_what_advise_wrote_is_run(self):
        prompts = self.prompts({"name": "a", "text": LONG})
        self.record("--sensitivity", 4, prompts=prompts)
        advice = self.folder / "advised.json"
        words = [PROGRAM, "advise", self.trace(), "-p", "knorm,streaming-llm", "--loss", "0.5", "--save", advice, "-q"]
        subprocess.run(list(map(str, words)), check=True, capture_output=True)
        found = read_advice(advice)
        first, _, _ = self.answers(advice)
        n_tokens, share = int(first.split()[1]), float(first.split()[3].rstrip("%")) / 100
        self.assertLess(abs(share - found.budget), 1.5 / n_tokens)

    @needs_kvpress
    def test_presses_keep_the_budget_by_taking_tokens_away_or_by_masking_them(self):
        for policy in ("knorm", "streaming-llm", "snapkv:window=8", "snapkv:window=8+ada", "attention"):
            with self.subTest(policy):
                first, whole, _ = self.answers(self.advice(policy))
                self.assertRegex(first, r"a: \d+ tokens, (39|40)\.\d% of their cache kept")
                _, same, all_kept = self.answers(self.advice(policy), "--kept", 1)
                self.assertEqual((whole, whole), (same, all_kept))

    def test_a_learned_policy_runs_as_its_file_does(self):
        traces = []
        for index, text in enumerate((LONG, "on the floor " * 25)):
            traces.append(self.folder / f"{index}.h5")
            self.record("--output", traces[-1], "--force", prompts=self.prompts({"name": "a", "text": text}))
        file = self.folder / "lkv.h5"
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            words = [*traces, "-o", file, "--steps", 8, "--no-folds", "--quiet", "--force"]
            self.assertEqual(train.main([str(word) for word in words]), 0)
        for policy in (f"lkv:file={file}", f"lkv:file={file}+uniform"):
            self.assertEqual(self.answers(self.advice(policy)), self.answers(file, "--kept", 0.4))

    @needs_kvpress
    def test_a_policy_that_no_press_keeps_is_refused_with_the_nearest(self):
        code, _, err = self.apply(self.advice("h2o"))
        self.assertEqual(code, 2)
        self.assertIn("no press of kvpress keeps the same tokens; the nearest that has one: 'attention'", err)

    @needs_kvpress
    def test_advice_of_another_model_or_point_is_said_to_be(self):
        _, _, err = self.apply(self.advice("knorm", model_id="other", compression_point="context"))
        self.assertIn("the advice is of the model 'other', this is 'llama'", err)
        self.assertIn("the advice is of the point 'context', this is 'prompt'", err)


class AdviceFiles(RecorderTest):
    def test_files_that_are_no_advice_are_refused(self):
        path = self.folder / "broken.json"
        good = {"format": "kvreplay-advice", "format_version": "1.0", "policy": "knorm", "budget": 0.5}
        for changes, words in (
            ({"format": "other"}, "expected kvreplay-advice 1, found 'other'"),
            ({"format_version": "2.0"}, "found 'kvreplay-advice 2.0'"),
            ({"policy": None}, "names no policy"),
            ({"policy": 7}, "expected a policy"),
            ({"budget": 0}, "above 0"),
            ({"budget": 1.5}, "up to 1"),
            ({"budget": None}, "budget"),
            ({"budget": "half"}, "budget"),
        ):
            path.write_text(json.dumps(good | changes))
            with self.subTest(words), self.assertRaisesRegex(InputError, words):
                read_advice(path)
        for text in ("{", "[]", "{" * 100_000, '{"a": "\ud800'.encode("utf-8", "surrogatepass").decode("latin1")):
            path.write_text(text, encoding="latin1")
            with self.assertRaises(InputError):
                read_advice(path)
        self.assertFalse(is_advice(self.folder / "absent.json"))

    def test_minor_versions_are_read(self):
        path = self.folder / "newer.json"
        path.write_text(json.dumps({"format": "kvreplay-advice", "format_version": "1.7", "policy": "a", "budget": 1}))
        self.assertEqual(read_advice(path).budget, 1)


if __name__ == "__main__":
    unittest.main()
