"""The tables, CSV and JSON of kvreplay validate."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from typing import TextIO

from .agreement import APART, Agreement
from .study import PREDICTION, Study

COLUMNS = ("spearman", "pairs right", "scale", "factor", "90 %")


def text_report(study: Study, with_rows: bool) -> str:
    """What a reader needs; `with_rows`: also every single measurement."""
    lines = []
    if with_rows:
        lines += [*_row_table(study), ""]
    lines += _surrogate_table(study)
    if PREDICTION in study.lower_is_better:
        lines += ["", *_case_table(study), "", *_budget_table(study)]
    return "\n".join(lines)


def _row_table(study: Study) -> list[str]:
    names = [name for name in (PREDICTION, "predicted_kl_clean", "output_error") if name in study.lower_is_better]
    rows = [
        [row.case, row.policy, f"{row.budget:.4g}", _figure(row.true_kl), _figure(row.nll_increase)]
        + [_figure(row.surrogates.get(name, math.nan)) for name in names]
        for row in study.rows
    ]
    return _table(["case", "policy", "budget", "true KL", "dNLL", *names], rows, n_text=2)


def _surrogate_table(study: Study) -> list[str]:
    agreements = study.agreements()
    order = sorted(agreements, key=lambda name: -_or_least(agreements[name].spearman))
    rows = [[name, *_cells(agreements[name])] for name in order]
    counts = next(iter(agreements.values()), None)
    head = [
        f"Live KL(full cache || retained) of {len(study.rows)} evictions in {len(study.cases())} cases, and what the "
        "replay says of it",
        "spearman: mean rank correlation of the policies at one budget of one case",
        f"pairs right: those ordered alike{f', of {counts.n_pairs}' if counts else ''} whose true KL are a factor "
        f"{APART:g} apart",
        "factor, 90 %: median and quantile of max(a/b, b/a), a = scale * surrogate (one scale for all), b = true KL",
    ]
    return head + _table(["surrogate", *COLUMNS], rows)


def _case_table(study: Study) -> list[str]:
    rows = []
    for trace, case in study.cases():
        found = study.agreements(lambda row: (row.trace, row.case) == (trace, case))[PREDICTION]
        rows.append([trace, case, *_cells(found)])
    return [f"{PREDICTION} by case"] + _table(["trace", "case", *COLUMNS], rows, n_text=2)


def _budget_table(study: Study) -> list[str]:
    rows = []
    for budget in sorted({row.budget for row in study.rows}):
        found = study.agreements(lambda row: row.budget == budget)[PREDICTION]
        rows.append([f"{budget:.4g}", *_cells(found)])
    return [f"{PREDICTION} by budget"] + _table(["budget", *COLUMNS], rows)


def _cells(found: Agreement) -> list[str]:
    right = "" if math.isnan(found.pairs_right) else f"{100 * found.pairs_right:.1f} %"
    return [_figure(found.spearman, 3), right, *map(_figure, (found.scale, found.factor, found.factor_p90))]


def _figure(value: float, decimals: int | None = None) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _table(head: list[str], rows: list[list[str]], n_text: int = 1) -> list[str]:
    """Aligned columns, the first `n_text` of them to the left."""
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i < n_text else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in [head, *rows]
    ]


def write_csv(study: Study, file: TextIO) -> None:
    """One line per measurement."""
    writer = csv.writer(file, lineterminator="\n")
    names = list(study.lower_is_better)
    writer.writerow(["trace", "case", "policy", "budget", "keeps_all", "true_kl", "nll_increase", *names])
    for row in study.rows:
        values = [row.true_kl, row.nll_increase, *(row.surrogates.get(name, math.nan) for name in names)]
        cells = ["" if math.isnan(value) else repr(value) for value in values]
        writer.writerow([row.trace, row.case, row.policy, repr(row.budget), int(row.keeps_all), *cells])


def write_json(study: Study, file: TextIO) -> None:
    """The measurements, and the agreement of each surrogate over all and per case. What is not a number is null."""
    by_case = [
        {
            "trace": trace,
            "case": case,
            "agreement": _plain(study.agreements(lambda row: (row.trace, row.case) == (trace, case))),
        }
        for trace, case in study.cases()
    ]
    document = {
        "rows": [_finite(dataclasses.asdict(row)) for row in study.rows],
        "agreement": _plain(study.agreements()),
        "by_case": by_case,
    }
    json.dump(document, file, indent=1, allow_nan=False)
    file.write("\n")


def _plain(agreements: dict[str, Agreement]) -> dict:
    return {name: _finite(dataclasses.asdict(found)) for name, found in agreements.items()}


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
