"""Charts and tables of results for notebooks: `pip install kvreplay[plot]`, `from kvreplay import plot`.

All figures are pooled, ranked and read off as `kvreplay compare` does it. Charts are Altair's: they compose by `|` and
`&`, and `.save("chart.svg")` or `.png` writes them for a paper.
"""

from .agreement_chart import agreement
from .curve_chart import curves
from .heat_chart import heatmap
from .pooling import pool
from .ranking_table import ranking
from .retained_tokens import tokens
from .token_text import TokenText

__all__ = ["TokenText", "agreement", "curves", "heatmap", "pool", "ranking", "tokens"]
