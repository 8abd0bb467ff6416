"""The comparison of policies, as `kvreplay compare` makes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ..common.printable import printable
from .opened_results import result_paths
from .program_run import run_logged
from .words import PathLike, Text, each_option, option

if TYPE_CHECKING:
    import xarray

GROUP = ("case", "layer", "head")
FIGURES = {  # columns, and where the program's object has them
    "value": "values",
    "numerator": "numerators",
    "denominator": "denominators",
    "kept_fraction": "kept_fraction",
}


@dataclass(frozen=True)
class Comparison:
    """table: long, pandas: metric, part (a span, or another policy), case, layer, head (of the groups that `by` asks
        for; None: all of them pooled), policy, budget, value, numerator, denominator, kept_fraction
    ranking: pandas, best first: policy, and `score`, in the measure that `json["ranking"]` names; empty where there is
        none
    notes: pandas: metric, text: what one should know of the figures
    json: everything that the program says
    """

    table: pd.DataFrame
    ranking: pd.DataFrame
    notes: pd.DataFrame
    json: dict

    def __repr__(self) -> str:
        lines = [self._title(), *self.ranking.to_string().split("\n"), *self.notes["text"]]
        return "\n".join(map(printable, lines))  # files of others name their samples

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<li>{escape(str(text))}</li>" for text in self.notes["text"])
        return f"<p>{escape(self._title())}</p>{self.ranking.to_html()}<ul>{notes}</ul>"

    def _title(self) -> str:
        by = self.json["ranking"]
        return f"Policies by {by['metric']}, {by['by']} ({by['why']})" if by else "Policies, not ranked"


def compare(
    results: PathLike | xarray.Dataset | Iterable[PathLike | xarray.Dataset],
    *,
    against: str | None = None,
    by: str | None = None,
    metric: Text | None = None,
    case: Text | None = None,
    budget: float | None = None,
) -> Comparison:
    """Compares policies by their results; the figures are those of `kvreplay compare`.

    results: paths, or datasets that a file holds: of `kvreplay.open_results`, or of a replay with `output=`. Several are
        joined by case, layer and policy
    against: a policy that all others are compared with (areas and equal budgets stand in `.json`)
    by: "case", "layer" or "head": each of these apart, in rows of their own in `.table`
    metric: only these. case: only these: "sample@point", all of a "sample", or all of a "@point"
    budget: the one at which `against` and `by` show something; default: the nearest to a quarter of the cache

    Throws UsageError for unknown names, and for datasets that no file holds; InputError for files of another format."""
    words = [*option("against", against), *option("by", by), *each_option("metric", metric, "metric")]
    words += [*each_option("case", case, "case"), *option("budget", budget)]
    said = json.loads(run_logged(["compare", "--json=-", *words, "--", *result_paths(results)]))
    ranking = said["ranking"] or {"policies": [], "scores": []}
    return Comparison(
        table=_table(said),
        ranking=pd.DataFrame({"policy": ranking["policies"], "score": pd.Series(ranking["scores"], dtype=float)}),
        notes=pd.DataFrame(said["notes"], columns=["metric", "text"]),
        json=said,
    )


def _table(said: dict) -> pd.DataFrame:
    rows = []
    for metric in said["metrics"]:
        for group in (metric, *metric.get("groups", ())):
            where = {"metric": metric["metric"], "part": metric["part"], **{name: group.get(name) for name in GROUP}}
            for i, policy in enumerate(said["policies"]):
                for j, budget in enumerate(said["budgets"]):
                    figures = {column: group[key][i][j] for column, key in FIGURES.items()}
                    rows.append(where | {"policy": policy["name"], "budget": budget} | figures)
    columns = ["metric", "part", *GROUP, "policy", "budget", *FIGURES]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(["budget", *FIGURES], float))
