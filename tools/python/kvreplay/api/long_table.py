"""Results as a long table, for those who group and join in pandas, polars or SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plot.results import find_metric, opened
from .words import PathLike

if TYPE_CHECKING:
    import pandas as pd
    import xarray


def frame(ds: xarray.Dataset | PathLike, metric: str) -> pd.DataFrame:
    """A metric as a long table: case, layer, head, policy, budget, `span` or `other_policy` where the metric has one,
    value, numerator, denominator. A row for each value that was measured.

    ds: results as `kvreplay.replay` returns them, or their path
    layer, head: <NA> in metrics of the whole model and of all heads. head: of queries or of the cache, as the metric's

    Add numerators and denominators, then apply the formula of the metric, as `kvreplay.pool` does: the mean of values
    is another figure.

    Throws UsageError for a metric that the results lack, InputError for a file of another format."""
    import xarray

    with opened(ds) as dataset:
        known = find_metric(dataset, metric)
        named = {"value": known.name, "numerator": known.numerator, "denominator": known.denominator}
        sums = xarray.Dataset({column: dataset[name].reset_coords(drop=True) for column, name in named.items()})
        table = sums.to_dataframe(dim_order=list(known.dims)).reset_index()
    table = table[table["numerator"].notna()].rename(columns={known.head: "head"})
    for column in ("layer", "head"):
        if column not in table:
            table[column] = None
        table[column] = table[column].astype("Int64")
    columns = ["case", "layer", "head", "policy", "budget", *([known.part] if known.part else []), *named]
    return table[columns].reset_index(drop=True)
