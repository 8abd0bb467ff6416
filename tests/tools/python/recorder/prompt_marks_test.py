"""Prompts: marked segments, listed spans, chats, files, and the token ranges they become."""

import json

import h5py

from tests.support.python.recording import RecorderTest
from tests.support.python.tiny_models import tiny_tokenizer


class PromptMarks(RecorderTest):
    def record_prompt(self, prompt: dict, *arguments) -> h5py.File:
        self.record("--decode", 2, *arguments, prompts=self.prompts({"name": "a", **prompt}))
        trace = h5py.File(self.trace())
        self.addCleanup(trace.close)
        return trace

    def spans(self, trace: h5py.File) -> list[tuple[str, str]]:
        """(name, text of its tokens) of each span."""
        sample = trace["samples/0000"]
        ids = sample["token_ids"][()]
        names, begins, ends = (sample[f"spans/{field}"][()] for field in ("name", "begin", "end"))
        return [
            (name.decode(), tiny_tokenizer().decode(ids[begin:end])) for name, begin, end in zip(names, begins, ends)
        ]

    def points(self, trace: h5py.File) -> list[tuple[str, int]]:
        points = trace["samples/0000/compression_points"]
        return [(name.decode(), int(position)) for name, position in zip(points["name"][()], points["position"][()])]

    def test_touching_segments_of_one_name_are_one_span(self):
        trace = self.record_prompt(
            {
                "text": [
                    "Read: ",
                    {"text": "one two ", "span": "context"},
                    {"text": "seven.", "span": ["context", "needle"]},
                    {"text": " three", "span": "context"},
                    {"text": "\nWhich?", "span": "question"},
                ]
            }
        )
        self.assertEqual(
            self.spans(trace), [("context", "one two seven. three"), ("needle", "seven."), ("question", "\nWhich?")]
        )
        start = int(trace["samples/0000"].attrs["decode_start"])
        context_end = int(trace["samples/0000/spans/end"][0])
        self.assertEqual(self.points(trace), [("context", context_end), ("prompt", start)])

    def test_spans_of_one_name_that_lie_apart_stay_apart(self):
        trace = self.record_prompt(
            {"text": [{"text": "ab", "span": "context"}, " -", {"text": "cd", "span": "context"}]}
        )
        self.assertEqual(self.spans(trace), [("context", "ab"), ("context", "cd")])
        self.assertEqual(self.points(trace)[0], ("context", int(trace["samples/0000/spans/end"][1])))

    def test_a_span_takes_every_token_it_touches(self):
        # " the" is one token; the span begins in its middle, and "é" is two tokens of one character.
        trace = self.record_prompt({"text": "in the é box", "spans": [{"name": "part", "begin": 4, "end": 8}]})
        self.assertEqual(self.spans(trace), [("part", " the é")])

    def test_a_listed_span_is_found_by_its_text(self):
        trace = self.record_prompt({"text": "the code is 73 here", "spans": [{"name": "needle", "text": "73"}]})
        self.assertEqual(self.spans(trace), [("needle", "73")])

    def test_spans_in_a_chat_are_found_in_the_rendered_template(self):
        # The words "user" and "system" also stand in the template; it trims the contents.
        trace = self.record_prompt(
            {
                "messages": [
                    {"role": "system", "content": "system"},
                    {
                        "role": "user",
                        "content": [
                            "  user\n",
                            {"text": "the key is 4", "span": ["context", "needle"]},
                            {"text": " user?  ", "span": "question"},
                        ],
                    },
                ]
            }
        )
        self.assertEqual(
            self.spans(trace), [("context", "the key is 4"), ("needle", "the key is 4"), ("question", " user?")]
        )
        texts = b"".join(trace["samples/0000/token_texts"][()]).decode()
        rendered = (
            "<|begin|>system\nsystem<|end|>\n<|begin|>user\nuser\nthe key is 4 user?<|end|>\n<|begin|>assistant\n"
        )
        self.assertTrue(texts.startswith(rendered), texts)

    def test_text_comes_from_files_and_ranges_of_their_lines(self):
        (self.folder / "long.txt").write_text("one\ntwo\nthree\nfour\n", encoding="utf-8")
        trace = self.record_prompt({"text": [{"text_file": "long.txt", "lines": [2, 3], "span": "context"}, "end"]})
        self.assertEqual(self.spans(trace), [("context", "two\nthree\n")])
        whole = self.prompts({"name": "whole", "text_file": "long.txt"})
        self.record("--force", "--decode", 1, prompts=whole)
        with h5py.File(self.trace()) as file:
            sample = file["samples/0000"]
            texts = sample["token_texts"][: sample.attrs["decode_start"]]
            self.assertEqual(b"".join(texts), b"<|begin|>one\ntwo\nthree\nfour\n")

    def test_own_compression_points_are_positions_or_ends_of_spans(self):
        trace = self.record_prompt(
            {
                "text": ["ab", {"text": "cd", "span": "needle"}, "ef"],
                "compression_points": {"second": 2, "after_needle": "needle"},
            }
        )
        self.assertEqual(self.points(trace), [("second", 2), ("after_needle", 5), ("prompt", 7)])

    def test_query_spans_choose_the_prompt_positions(self):
        prompt = {"text": ["abcdef", {"text": "gh", "span": "needle"}, "ijkl"]}
        cases = {
            "all": [[0, 15]],
            "needle": [[7, 9], [13, 15]],
            "last:3": [[10, 15]],
            "last:0": [[13, 15]],
            "needle,last:5": [[7, 15]],
            "last:99": [[0, 15]],
        }
        for choice, ranges in cases.items():
            with self.subTest(choice):
                trace = self.record_prompt(prompt, "--query-spans", choice, "--force")
                sample = trace["samples/0000"]
                self.assertEqual(sample["query_ranges"][()].tolist(), ranges)
                n_recorded = sum(end - begin for begin, end in ranges)
                self.assertEqual(sample["layers/00/queries"].shape, (4, n_recorded, 8))
                trace.close()

    def test_chosen_queries_are_the_same_as_among_all(self):
        prompt = {"text": ["abcdef", {"text": "gh", "span": "needle"}, "ijkl"]}
        trace = self.record_prompt(prompt)
        queries = trace["samples/0000/layers/01/queries"][()]
        trace.close()
        trace = self.record_prompt(prompt, "--query-spans", "needle", "--force")
        rows = trace["samples/0000/query_ranges"][()]
        expected = queries[:, [*range(*rows[0]), *range(*rows[1])]]
        self.assertTrue((trace["samples/0000/layers/01/queries"][()] == expected).all())

    def test_a_prompt_without_decoding_keeps_only_its_context_point(self):
        prompt = {"text": [{"text": "abc", "span": "context"}, "de"]}
        self.record("--decode", 0, prompts=self.prompts({"name": "a", **prompt}))
        with h5py.File(self.trace()) as trace:
            self.assertEqual(self.points(trace), [("context", 4)])
            self.assertEqual(trace["samples/0000"].attrs["n_tokens"], 6)

    def test_bad_prompts_are_refused_by_file_and_line(self):
        cases = {
            "{": ("not JSON", "column"),
            "[1]": ("JSON object",),
            '{"text": "a"}': ("'name'",),
            '{"name": "a"}': ("exactly one of",),
            '{"name": "a", "text": "b", "txet": 1}': ("unknown key 'txet'",),
            '{"name": "a", "text": ""}': ("empty",),
            '{"name": "a", "text": [{"text": "", "span": "x"}]}': ("'x' is empty",),
            '{"name": "a", "text": [{"text": "b", "span": "all"}]}': ("'all'",),
            '{"name": "a", "text": [{"text_file": "absent.txt"}]}': ("absent.txt",),
            '{"name": "a", "text": "b b", "spans": [{"name": "x", "text": "b"}]}': ("2 times",),
            '{"name": "a", "text": "b", "spans": [{"name": "x", "begin": 0, "end": 9}]}': ("[0, 9)",),
            '{"name": "a", "text": "\\ud800"}': ("Unicode",),
            '{"name": "a", "messages": [{"role": "user"}]}': ("'content'",),
            '{"name": "a", "text": "b", "compression_points": {"x": 99}}': ("outside",),
            '{"name": "a", "text": "b", "compression_points": {"x": "nowhere"}}': ("no span 'nowhere'",),
            '{"name": "a", "text": "b", "compression_points": {"prompt": 1}}': ("'prompt'", "by itself"),
            '{"name": "ok", "text": "b"}': ("already taken",),
        }
        for line, words in cases.items():
            with self.subTest(line):
                path = self.folder / "bad.jsonl"
                path.write_text('\n{"name": "ok", "text": "fine"}\n' + line, encoding="utf-8")
                self.assert_refused(self.attempt(prompts=path), 3, f"{path}:3: ", *words)

    def test_a_file_without_prompts_is_refused(self):
        path = self.folder / "empty.jsonl"
        path.write_text("\n \n", encoding="utf-8")
        self.assert_refused(self.attempt(prompts=path), 3, "no prompts")
        self.assert_refused(self.attempt(prompts=self.folder / "absent.jsonl"), 3, "absent.jsonl")

    def test_a_prompt_that_is_all_template_is_refused(self):
        prompts = self.prompts({"name": "a", "messages": [{"role": "user", "content": ""}]})
        self.assert_refused(self.attempt(prompts=prompts), 3, "empty")

    def test_unknown_names_of_query_spans_list_the_known_ones(self):
        prompts = self.prompts({"name": "a", "text": [{"text": "b", "span": "needle"}]})
        self.assert_refused(self.attempt("--query-spans", "nadel", prompts=prompts), 3, "no span 'nadel'", "needle")

    def test_a_template_that_alters_messages_is_refused(self):
        model = self.folder / "shouting"
        model.mkdir()
        for file in self.model().iterdir():
            (model / file.name).write_bytes(file.read_bytes())
        template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
        config = json.loads((model / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (model / "tokenizer_config.json").write_text(json.dumps(config))
        (model / "chat_template.jinja").write_text(template)
        prompts = self.prompts({"name": "a", "messages": [{"role": "user", "content": "quiet"}]})
        self.assert_refused(self.attempt(model=model, prompts=prompts), 3, "chat template")
