"""Tables and retained sets say what the program and the files say.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/api/tables_test.py
"""

import pickle
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd

import kvreplay as kr
from tests.support.python.small_results import compare, run
from tests.tools.python.api.small_trace import SmallTrace


class Registry(SmallTrace):
    def test_frames_hold_every_name(self):
        self.assertLessEqual(set(run("policies", "--names").split()), set(kr.policies().index))
        self.assertEqual(set(run("metrics", "--names").split()), set(kr.metrics().index))
        self.assertEqual(kr.policies().loc["snapkv", "kind"], "scorer")
        self.assertEqual(kr.policies().loc["ada-snapkv", "kind"], "preset")
        self.assertTrue(kr.policies().loc["oracle", "oracle"])
        self.assertEqual(kr.metrics().loc["attention_recall", "better"], "higher")

    def test_a_name_gives_its_page(self):
        self.assertEqual(kr.policies("snapkv"), run("policies", "snapkv"))
        self.assertEqual(kr.metrics("capacity"), run("metrics", "capacity"))
        for call in (kr.policies, kr.metrics):
            for name in ("nope", "", "--json", 7):
                with self.assertRaises(kr.UsageError, msg=name):
                    call(name)


class Frame(SmallTrace):
    def test_sums_are_those_of_pool(self):
        ds = kr.open_results(self.results)
        for name, formula in (
            ("attention_recall", lambda n, d: n / d),
            ("output_error", lambda n, d: (n / d) ** 0.5),
            ("summed_projected_error", lambda n, d: n / d),
        ):
            table = kr.frame(ds, name)
            table = table[table["case"].str.endswith("@prompt")]
            sums = table.groupby(["policy", "budget"])[["numerator", "denominator"]].sum()
            found = formula(sums["numerator"], sums["denominator"]).unstack().loc[ds.policy.values].to_numpy()
            np.testing.assert_allclose(found, kr.pool(ds, name, point="prompt").values, rtol=1e-12, err_msg=name)

    def test_rows_are_the_values(self):
        table = kr.frame(self.results, "output_error")
        columns = ["case", "layer", "head", "policy", "budget", "value", "numerator", "denominator"]
        self.assertEqual(table.columns.tolist(), columns)
        self.assertEqual(len(table), 4 * 2 * 8 * 3 * 2)
        ds = kr.open_results(self.results)
        for row in table.iloc[::37].itertuples():
            where = {
                "case": row.case,
                "layer": row.layer,
                "q_head": row.head,
                "policy": row.policy,
                "budget": row.budget,
            }
            self.assertEqual(float(ds["output_error"].sel(where)), row.value)

    def test_dimensions_that_a_metric_lacks_are_missing_and_parts_stand_apart(self):
        whole = kr.frame(self.results, "summed_projected_error")
        self.assertTrue(whole["layer"].isna().all() and whole["head"].isna().all())
        self.assertIn("needle", set(kr.frame(self.results, "needle_recall")["span"]))

    def test_what_was_not_replayed_has_no_row(self):
        ds = kr.replay(self.trace, "random,scissorhands:window=120", 0.5, compression_points=["prompt", 100])
        rows = kr.frame(ds, "output_error").groupby(["case", "policy"]).size()
        self.assertNotIn(("synthetic-0000@100", ds.policy.values[1]), rows.index)
        self.assertEqual(rows["synthetic-0000@100", "random"], 2 * 8)

    def test_unknown_metrics_are_refused_with_the_nearest(self):
        with self.assertRaisesRegex(kr.UsageError, "did you mean 'output_error'"):
            kr.frame(self.results, "output_eror")


class Retained(SmallTrace):
    def test_sets_agree_with_the_file(self):
        sets, n_sets = kr.retained(self.sets), 0
        with h5py.File(self.sets) as file:
            for number, sample in sets.samples.items():
                for point in sets.points:
                    for policy in sets.policies:
                        array = sets.array(policy=policy, sample=sample, point=point)
                        self.assertEqual(array.budget.values.tolist(), [0.1, 0.5])
                        for layer in sets.layers:
                            raw = file[f"samples/{number}/{point}/layers/{layer:02}/retained/{policy}"]
                            first = int(raw.attrs["first_position"])
                            for budget, head in np.ndindex(raw.shape[:2]):
                                where = {
                                    "policy": policy,
                                    "layer": layer,
                                    "head": head,
                                    "sample": sample,
                                    "point": point,
                                }
                                found = sets.positions(budget=(0.1, 0.5)[budget], **where)
                                expected = first + np.flatnonzero(raw[budget, head])
                                self.assertEqual(found.tolist(), expected.tolist())
                                kept = array.sel(layer=layer).isel(budget=budget, head=head)
                                self.assertEqual(kept.position.values[kept.values].tolist(), expected.tolist())
                                n_sets += 1
        self.assertEqual(n_sets, 2 * 2 * 3 * 2 * 2 * 2)

    def test_layers_of_a_sliding_window_stand_at_their_positions(self):
        trace, file = self.folder / "sliding.h5", self.folder / "sliding-sets.h5"
        run("synth", "-o", trace, "--prompt", 128, "--decode", 16, "--layers", 2, "--sliding-window", 32)
        kr.replay(trace, "random", 0.5, retained=file, evict_sliding=True, compression_points="prompt")
        sets = kr.retained(file)
        array, first = sets.array(policy="random"), []
        for layer in sets.layers:
            positions = sets.positions(policy="random", budget=0.5, layer=layer, head=0)
            kept = array.sel(layer=layer).isel(budget=0, head=0)
            self.assertEqual(kept.position.values[kept.values].tolist(), positions.tolist())
            first.append(positions[0])
        self.assertGreater(max(first), 90)  # the window is the last 32 of 128

    def test_it_pickles_as_its_path(self):
        self.assertEqual(pickle.loads(pickle.dumps(kr.retained(self.sets))), kr.retained(self.sets))

    def test_unknown_names_and_other_files_are_refused(self):
        sets = kr.retained(self.sets)
        known = {"policy": "h2o", "budget": 0.1, "layer": 0, "head": 0, "sample": "synthetic-0000", "point": "prompt"}
        for wrong in ({"policy": "h20"}, {"layer": 2}, {"head": 2}, {"head": -1}, {"sample": None}, {"point": "promt"}):
            with self.assertRaises(kr.UsageError, msg=wrong):
                sets.positions(**(known | wrong))
        for file in (self.results, self.trace, self.folder / "none.h5"):
            with self.assertRaises(kr.InputError):
                kr.retained(file)


class Compare(SmallTrace):
    def test_the_table_is_the_json(self):
        for by in (None, "layer", "head", "case"):
            options = ["--metric", "output_error,needle_recall", *(["--by", by] if by else [])]
            said = compare(self.results, *options)
            found = kr.compare(self.results, by=by, metric=["output_error", "needle_recall"])
            self.assertEqual(found.json, said)
            rows = found.table.iterrows()
            for metric in said["metrics"]:
                for group in (metric, *metric.get("groups", ())):
                    for i, policy in enumerate(said["policies"]):
                        for j, budget in enumerate(said["budgets"]):
                            _, row = next(rows)
                            self.assertEqual(
                                (row["metric"], row["policy"], row["budget"]),
                                (metric["metric"], policy["name"], budget),
                            )
                            for name in ("case", "layer", "head"):
                                self.assertEqual(None if pd.isna(row[name]) else row[name], group.get(name))
                            for column, key in (("value", "values"), ("kept_fraction", "kept_fraction")):
                                expected = group[key][i][j]
                                self.assertEqual(None if pd.isna(row[column]) else row[column], expected)
            self.assertEqual(list(rows), [])

    def test_ranking_and_notes_are_the_programs(self):
        said, found = compare(self.results, "--case", "@prompt"), kr.compare(self.results, case="@prompt")
        self.assertEqual(found.ranking["policy"].tolist(), said["ranking"]["policies"])
        self.assertEqual(found.ranking["score"].tolist(), said["ranking"]["scores"])
        notes = [(None if pd.isna(metric) else metric, text) for metric, text in found.notes.itertuples(index=False)]
        self.assertEqual(notes, [(each["metric"], each["text"]) for each in said["notes"]])
        self.assertIn(said["ranking"]["policies"][0], found._repr_html_())
        noted = replace(found, notes=pd.DataFrame({"metric": [None], "text": ["<b>\x1b[31m"]}))
        self.assertIn("<b>\\x1b[31m", repr(noted))
        self.assertIn("&lt;b&gt;", noted._repr_html_())
        against = kr.compare(self.results, against="random", budget=0.5).json
        self.assertEqual(against, compare(self.results, "--against", "random", "--budget", "0.5"))

    def test_datasets_are_compared_where_a_file_holds_them(self):
        output = self.folder / "kept.h5"
        ds = kr.replay(self.trace, ["h2o", "random"], [0.1, 0.5], output=output)
        self.assertEqual(kr.compare(ds).json, compare(output))
        self.assertEqual(len(kr.compare([self.results, kr.open_results(self.results)]).json["files"]), 2)
        for changed in (ds.isel(case=[0]), ds.fillna(0) * 2, kr.replay(self.trace, "h2o", 0.5)):
            with self.assertRaisesRegex(kr.UsageError, "dataset is"):
                kr.compare(changed)

    def test_what_the_program_refuses_is_refused(self):
        for options in ({"by": "token"}, {"against": "nope"}, {"metric": "nope"}, {"case": "nope"}, {"metric": []}):
            with self.assertRaises(kr.UsageError, msg=options):
                kr.compare(self.results, **options)
        with self.assertRaises(kr.InputError):
            kr.compare(self.sets)


class Report(SmallTrace):
    def test_the_page_is_that_of_the_command(self):
        page, expected = self.folder / "-page.html", self.folder / "expected.html"
        run("report", self.results, "-o", expected, "--retained", self.sets, "--title", "--a <title>")
        self.assertEqual(kr.report(self.results, page, retained=self.sets, title="--a <title>"), page)
        self.assertEqual(page.read_bytes(), expected.read_bytes())
        with self.assertRaises(kr.UsageError):
            kr.report(self.results, page)
        kr.report(kr.open_results(self.results), page, force=True)
