"""What the decorators make of functions, and what they refuse. No program is needed."""

import unittest
from typing import Literal

import kvreplay as kr
from kvreplay.parts.part import parts_named


def plain(view, window=8, share=0.5, fast=False, kind: Literal["a", "b"] = "b"):
    """The summary.

    More."""


class Decorators(unittest.TestCase):
    def test_keyword_arguments_are_parameters(self):
        part = kr.scorer("test-kinds")(plain)
        self.assertEqual(
            [(each.name, each.kind, each.default) for each in part.parameters],
            [("window", "count", "8"), ("share", "real", "0.5"), ("fast", "switch", "false"), ("kind", "choice", "b")],
        )
        self.assertEqual([each.python_default() for each in part.parameters], [8, 0.5, False, "b"])
        self.assertEqual(
            (part.summary, str(part), f"{part}:window=4+ada"), ("The summary.", "test-kinds", "test-kinds:window=4+ada")
        )
        self.assertIsNone(part(None))  # still a function

    def test_the_name_is_the_function_s(self):
        @kr.scorer
        def two_words(view):
            pass

        self.assertEqual(two_words.name, "two-words")
        self.assertEqual(kr.modifier(at_budget=True)(lambda view, scores, budget: scores).name, "lambda")

    def test_names_for_type_checkers_alone_are_no_error(self):
        @kr.scorer
        def checked(view: "kr_of_nobody.View", kind: 'Literal["a", "b"]' = "a") -> "kr_of_nobody.Scores":  # noqa: F821
            pass

        self.assertEqual([each.choices for each in checked.parameters], [("a", "b")])

    def test_what_is_refused(self):
        def no_default(view, window):
            pass

        def of_list(view, windows=[1]):
            pass

        def free_text(view, kind="avg"):
            pass

        def negative(view, n=-1):
            pass

        def rest(view, *others):
            pass

        cases = [
            (kr.scorer, no_default, r"'no-default': expected the arguments \(view\)"),
            (kr.scorer, of_list, r"'windows' is \[1\]; expected a whole number"),
            (kr.scorer, free_text, "'kind' is 'avg'; expected"),
            (kr.scorer, negative, "'n' is -1; expected"),
            (kr.scorer, rest, "'others' needs a default"),
            (kr.scorer, lambda: None, r"expected the arguments \(view\)"),
            (kr.scorer_at(), plain, r"expected the arguments \(view, budget\)"),
            (kr.modifier, plain, r"expected the arguments \(view, scores\)"),
            (kr.allocator, plain, r"expected the arguments \(view, layer\)"),
            (kr.allocator(level="both"), lambda view, layer: None, r"expected the arguments \(layers\)"),
            (kr.scorer("a+b"), plain, "must not be empty or hold"),
            (kr.scorer(""), plain, "must not be empty"),
            (kr.scorer(needs="keys"), plain, "needs 'keys': expected queries"),
            (kr.scorer(needs="queries:widow"), plain, "no parameter 'widow' that is a number of tokens"),
            (kr.scorer(needs="queries:share"), plain, "no parameter 'share' that is a number of tokens"),
            (kr.scorer(recent="fast"), plain, "no parameter 'fast'"),
            (kr.scorer(sinks=0.5), plain, "sinks=0.5: expected a number of tokens"),
            (kr.scorer(first_share=0.75), plain, "first_share=0.75: expected 0 to 0.5"),
            (kr.scorer(recent_share=-1), plain, "recent_share=-1: expected 0 to 1"),
        ]
        for decorator, function, message in cases:
            with self.subTest(message), self.assertRaisesRegex(kr.UsageError, message):
                decorator(function)
        for make, message in (
            (lambda: kr.scorer(heads="all"), 'expected "kv" or "query"'),
            (lambda: kr.allocator(level="model"), 'expected "heads", "layers" or "both"'),
            (lambda: kr.allocator(survey=plain), "sees its layer by itself"),
        ):
            with self.subTest(message), self.assertRaisesRegex(kr.UsageError, message):
                make()

    def test_versions_tell_sources_and_settings_apart(self):
        def other(view, window=8, share=0.5, fast=False, kind: Literal["a", "b"] = "b"):
            return 1

        made = [
            kr.scorer("v")(plain),
            kr.scorer("v")(other),
            kr.scorer("v", sinks=4)(plain),
            kr.scorer("v", needs="queries")(plain),
            kr.scorer("v", version="2")(plain),
            kr.scorer("v", heads="query")(plain),
        ]
        self.assertEqual(len({part.version for part in made}), len(made))
        self.assertEqual(kr.scorer("v")(plain).version, made[0].version)
        here = {}
        exec("def typed(view):\n    return 1\ndef again(view):\n    return 2", here)  # no source to be read
        self.assertNotEqual(kr.scorer("v")(here["typed"]).version, kr.scorer("v")(here["again"]).version)

    def test_policies_name_their_parts(self):
        old = kr.scorer("test-named")(plain)
        weight = kr.modifier("test-weight")(lambda view, scores: scores)
        names = [part.name for part in parts_named(["snapkv,test-named:window=4+test-weight+ada", "h2o"])]
        self.assertEqual(names, ["test-named", "test-weight"])
        self.assertEqual(parts_named("snapkv"), [])
        self.assertEqual(parts_named("test-weight"), [])  # no scorer is called so
        new = kr.scorer("test-named", sinks=1)(plain)
        self.assertEqual(parts_named("test-named"), [new])
        self.assertEqual(parts_named(["test-named", old]), [old])  # the object that is given
        self.assertEqual(parts_named(old), [old])
        self.assertIs(parts_named(["x+test-weight"])[0], weight)


if __name__ == "__main__":
    unittest.main()
