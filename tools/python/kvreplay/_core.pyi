from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


version: str = '0.1.0'

def blas_core() -> str:
    """the kernels that OpenBLAS has chosen"""

class Budget:
    """One budget in one layer."""

    @property
    def tokens(self) -> int:
        """int: kept per head"""

    @property
    def kept(self) -> float:
        """float: the share kept, as asked for"""

    @property
    def removed(self) -> float:
        """float: the share removed, as asked for"""

class View:
    """
    One layer of one sample at its compression point, as a policy sees it when it acts. Token i stands at position first_position + i. Arrays are float32 and read-only, and share the recorded memory.
    """

    @property
    def layer(self) -> int:
        """int: the model's layer"""

    @property
    def sample(self) -> int:
        """int: index in the trace"""

    @property
    def compression_point(self) -> str:
        """str: the name of the point where the policy acts"""

    @property
    def seed(self) -> int:
        """
        int: for what is random; of the replay's seed, the sample and the layer
        """

    @property
    def trace(self) -> str:
        """str: the fingerprint of the recording"""

    @property
    def n_tokens(self) -> int:
        """int: tokens up for eviction"""

    @property
    def first_position(self) -> int:
        """int: of token 0; above 0 in sliding layers alone"""

    @property
    def n_q_heads(self) -> int:
        """int"""

    @property
    def n_kv_heads(self) -> int:
        """int"""

    @property
    def head_dim(self) -> int:
        """int: of keys"""

    @property
    def value_dim(self) -> int:
        """int: of values"""

    @property
    def scale(self) -> float:
        """float: what logits are multiplied with"""

    @property
    def keys(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None, None), writable=False)]:
        """[n_kv_heads, n_tokens, head_dim], after RoPE"""

    @property
    def values(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None, None), writable=False)]:
        """[n_kv_heads, n_tokens, value_dim]"""

    @property
    def unrotated_keys(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None, None), writable=False)]:
        """
        [n_kv_heads, n_tokens, head_dim], keys before RoPE; computed once for all policies
        """

    @property
    def output_projection(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None, None), writable=False)]:
        """[n_q_heads, value_dim, hidden_size]: W_O; needs "output_projection\""""

    @property
    def block_cosine(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None,), writable=False)] | None:
        """
        [n_tokens] or None: cosine of the residual stream before and after the attention block
        """

    def queries(self, window: int | None = None) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None, None), writable=False)]:
        """
        [n_q_heads, window, head_dim]: the last `window` prompt queries after RoPE, or all of the tokens' own; needs "queries:WINDOW" or "queries\"
        """

    def attention_sums(self, window: int | None = None) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), writable=False)]:
        """
        [n_q_heads, n_tokens]: causal softmax attention of the last `window` prompt queries (all), summed over them. Computed once for all policies; needs the queries
        """

    def attention_rows(self, q_head: int, window: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), writable=False)]:
        """
        [window, n_tokens]: causal softmax attention of the last `window` prompt queries, of one query head
        """

    def n_seen_by(self, window: int | None = None) -> Annotated[NDArray[numpy.int64], dict(shape=(None,), writable=False)]:
        """
        [n_tokens] int64: how many of these queries see a token; attention_sums / n_seen_by is a mean
        """

    def query_moments(self, sinks: int = 4, future: int = 512) -> tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None), writable=False)], Annotated[NDArray[numpy.float64], dict(shape=(None, None, None), writable=False)]]:
        """
        (mean [n_q_heads, head_dim], covariance [n_q_heads, head_dim, head_dim]), float64: of the prompt's queries from token `sinks` on, their RoPE replaced by the mean one of the next `future` positions; needs "queries\"
        """

    def value_norms(self, order: int = 2, projected: bool = False) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), writable=False)]:
        """
        [n_kv_heads, n_tokens]: L1 or L2 norms of values; projected: [n_q_heads, n_tokens], after W_O, which is needed then
        """

    def key_leverage(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), writable=False)]:
        """
        [n_kv_heads, n_tokens]: leverage of the keys before RoPE, less their mean, with a ridge of 0.01
        """

    @property
    def evaluation_queries(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None, None), writable=False)]:
        """
        [n_q_heads, any, head_dim]: the queries from the compression point on; for looks_ahead=True alone
        """

    def evaluation_attention(self) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), writable=False)]:
        """
        [n_q_heads, n_tokens]: full-cache attention of those, summed over them; for looks_ahead=True alone
        """

    def __repr__(self) -> str: ...

class Layer:
    """
    A layer whose budgets an allocator splits over heads, or sets beside others.
    """

    @property
    def layer(self) -> int:
        """int: the model's layer"""

    @property
    def n_heads(self) -> int:
        """
        int: heads with a retained set of their own, KV heads or query heads, as the scorer makes them
        """

    @property
    def n_tokens(self) -> int:
        """int: tokens up for eviction"""

    @property
    def tokens(self) -> Annotated[NDArray[numpy.int64], dict(shape=(None,), writable=False)]:
        """
        [n_budgets] int64: tokens that each head of the layer is to keep on average
        """

    @property
    def protected(self) -> Annotated[NDArray[numpy.int64], dict(shape=(None,), writable=False)]:
        """
        [n_budgets] int64: how many of them the scorer keeps whatever their score
        """

    @property
    def noted(self) -> Annotated[NDArray[numpy.float64], dict(shape=(None,), writable=False)]:
        """[any] float64: what the allocator's `survey` returned"""

    def scores(self, budget: int) -> list:
        """
        for each head, [n_tokens - protected[budget]] float32: the scores that are not protected, largest first
        """

    def __repr__(self) -> str: ...

def replay(words: Sequence[str], parts: list, heard: object, progress_ms: int) -> str:
    """the replay command in this process; returns what it prints"""
