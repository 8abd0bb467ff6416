"""kvreplay.advise says what the command says.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/api/advise_test.py
"""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import kvreplay as kr
from tests.support.python.small_results import PROGRAM, run
from tests.tools.python.api.small_trace import refusal

FEW = ["snapkv:window=16", "knorm", "random"]


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class Advise(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.traces = [cls.folder / f"{seed}.h5" for seed in (1, 2)]
        for seed, trace in enumerate(cls.traces, start=1):
            shape = ["--prompt", 128, "--decode", 8, "--layers", 2, "--sensitivity", 4]
            run("synth", "-o", trace, *shape, "--seed", seed)

    def advise(self, *arguments: object, **options: object) -> kr.Advice:
        return kr.advise(self.traces, *arguments, policies=FEW, budgets=[0.1, 0.3, 0.6, 1], **options)

    def test_it_is_the_advice_of_the_command(self):
        file = self.folder / "advice.json"
        advice = self.advise(0.3, save=file)
        words = ["advise", *self.traces, "--loss", 0.3, "-b", "0.1,0.3,0.6,1", "-q"]
        for policy in FEW:
            words += ["-p", policy]
        command = [PROGRAM, *map(str, words)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        said = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(advice.text, text)
        self.assertEqual(advice.json, json.loads(said))
        self.assertEqual(json.loads(file.read_text()), advice.json)
        self.assertEqual((advice.policy, advice.budget), (advice.json["policy"], advice.json["budget"]))
        self.assertEqual(advice.interval, tuple(advice.json["interval"]))
        self.assertEqual(repr(advice), text)
        self.assertIn("<pre>", advice._repr_html_())

    def test_the_table_has_every_policy_the_best_first(self):
        table = self.advise(0.3).table
        self.assertEqual(sorted(table.policy), sorted(FEW))
        self.assertTrue(table.share[table.answers].is_monotonic_increasing)
        self.assertTrue((table.low <= table.high).all())
        self.assertFalse(table.tied[0])

    def test_a_size_may_be_a_number_or_a_text(self):
        number, text = self.advise(bytes=40_000), self.advise(bytes="40kB")
        self.assertEqual(number.json, text.json)
        self.assertEqual(number.interval, tuple(number.json["loss_interval"]))

    def test_results_are_advised_on_as_their_traces_are(self):
        results = self.folder / "results.h5"
        advice = self.advise(0.3, output=results)
        again = kr.advise(results, 0.3)
        self.assertEqual((again.policy, again.budget, again.interval), (advice.policy, advice.budget, advice.interval))

    def test_no_answer_is_none(self):
        advice = kr.advise(self.traces, 1e-9, policies="random", budgets=0.1)
        self.assertEqual((advice.policy, advice.budget, advice.interval), (None, None, None))
        self.assertIn("None of these budgets", advice.text)

    def test_errors_are_those_of_the_command(self):
        plain = self.folder / "plain.h5"
        run("synth", "-o", plain, "--prompt", 128, "--decode", 8, "--layers", 1)
        for kind, options in ((kr.InputError, {"traces": plain}), (kr.UsageError, {"loss": -1}),
                              (kr.UsageError, {"policies": "snapkw"}), (kr.UsageError, {"bytes": "1MB", "loss": 1})):  # fmt: skip
            arguments = {"traces": self.traces[0], **options}
            words = ["advise", arguments.pop("traces"), *(f"--{name}={value}" for name, value in arguments.items())]
            words = [str(word).replace("--policies", "--policy") for word in words]
            with self.assertRaises(kind) as caught:
                kr.advise(**({"traces": self.traces[0]} | options))
            self.assertEqual(str(caught.exception), refusal(*words))
        with self.assertRaises(kr.UsageError):
            kr.advise([])


if __name__ == "__main__":
    unittest.main()
