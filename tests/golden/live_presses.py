"""The presses that the golden data comes from, each with the policy of kvreplay that shall keep the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
from kvpress import (
    AdaKVPress,
    CapPress,
    ChunkKVPress,
    CompactorPress,
    CriticalAdaKVPress,
    CriticalKVPress,
    CURPress,
    DuoAttentionPress,
    ExpectedAttentionPress,
    KeyDiffPress,
    KnormPress,
    KVzipPress,
    LagKVPress,
    LeverageScorePress,
    NonCausalAttnPress,
    ObservedAttentionPress,
    PyramidKVPress,
    SimLayerKVPress,
    SnapKVPress,
    StreamingLLMPress,
    TOVAPress,
)

# Small enough that both kinds of heads and of layers occur in prompts of some 400 tokens.
DUO_SINKS, DUO_RECENT = 8, 48
SIM_RECENT = 64
PROBE_CHUNK = 150


@dataclass
class LivePress:
    policy: str
    make: Callable[[float], object]  # share removed -> press
    scope: str = "head"
    attention: str = "sdpa"  # how the model has to attend
    small_heads_only: bool = False  # it draws a random sketch, which tells nothing only where heads are smaller
    needs_probe: bool = False


def expected_attention(ratio: float, **changes) -> ExpectedAttentionPress:
    return ExpectedAttentionPress(compression_ratio=ratio, **changes)


def snapkv(ratio: float) -> SnapKVPress:
    return SnapKVPress(compression_ratio=ratio)


class TableDuoAttentionPress(DuoAttentionPress):
    """DuoAttentionPress with a table of gates [n_layers, n_kv_heads] of our own instead of a downloaded one."""

    table: np.ndarray

    def load_attention_pattern(self, model):
        return DUO_SINKS, DUO_RECENT, self.table


def duo_attention(ratio: float, table: np.ndarray) -> TableDuoAttentionPress:
    press = TableDuoAttentionPress(head_compression_ratio=ratio)
    press.table = table
    return press


def live_presses(table: np.ndarray, table_name: str, lazy_threshold: float) -> dict[str, LivePress]:
    """By name. `table` [n_layers, n_kv_heads] for DuoAttention lies in the file `table_name`."""
    return {
        "knorm": LivePress("knorm", lambda r: KnormPress(r)),
        "streaming-llm": LivePress("streaming-llm", lambda r: StreamingLLMPress(r)),
        "snapkv": LivePress("snapkv", snapkv),
        "pyramidkv": LivePress("pyramidkv", lambda r: PyramidKVPress(r)),
        "tova": LivePress("tova", lambda r: TOVAPress(r)),
        "observed-attention": LivePress("attention", lambda r: ObservedAttentionPress(r), attention="eager"),
        "expected-attention": LivePress("expected-attention", expected_attention),
        "expected-attention-mean": LivePress(
            "expected-attention:covariance=no", lambda r: expected_attention(r, use_covariance=False)
        ),
        "expected-attention-plain": LivePress(
            "expected-attention:value_norm=no", lambda r: expected_attention(r, use_vnorm=False)
        ),
        "cap": LivePress("capkv", lambda r: CapPress(r)),
        "keydiff": LivePress("keydiff", lambda r: KeyDiffPress(r)),
        "lagkv": LivePress("lagkv", lambda r: LagKVPress(r)),
        "lagkv-small": LivePress("lagkv:lag=32", lambda r: LagKVPress(r, lag_size=32)),
        "lagkv-cross": LivePress("lagkv:lag=32,cross=yes", lambda r: LagKVPress(r, lag_size=32, cross_scoring=True)),
        "cur": LivePress("cur", lambda r: CURPress(r)),
        "cur-key": LivePress("cur:product=key", lambda r: CURPress(r, leverage_type="key")),
        "cur-value": LivePress("cur:product=value", lambda r: CURPress(r, leverage_type="value")),
        "cur-average": LivePress("cur:product=avg", lambda r: CURPress(r, leverage_type="kv_avg")),
        "leverage": LivePress("leverage:dialect=kvpress", lambda r: LeverageScorePress(r), small_heads_only=True),
        "non-causal": LivePress("non-causal", lambda r: NonCausalAttnPress(r)),
        "compactor": LivePress("compactor:sketch=48", lambda r: CompactorPress(r), small_heads_only=True),
        "critical-snapkv": LivePress("critical-snapkv", lambda r: CriticalKVPress(snapkv(r))),
        "critical-expected-attention": LivePress(
            "expected-attention:value_norm=no+critical",
            lambda r: CriticalKVPress(expected_attention(r, use_vnorm=False)),
        ),
        "ada-snapkv": LivePress("ada-snapkv", lambda r: AdaKVPress(snapkv(r)), scope="layer"),
        "ada-expected-attention": LivePress(
            "ada-expected-attention", lambda r: AdaKVPress(expected_attention(r, epsilon=1e-2)), scope="layer"
        ),
        "critical-adakv": LivePress("critical-adakv", lambda r: CriticalAdaKVPress(snapkv(r)), scope="layer"),
        "chunkkv": LivePress("chunkkv", lambda r: ChunkKVPress(snapkv(r)), scope="chunks"),
        "simlayerkv": LivePress(
            f"streaming-llm+simlayer:threshold={lazy_threshold:g},sinks=4,recent={SIM_RECENT},last=1",
            lambda r: SimLayerKVPress(lazy_threshold=lazy_threshold, n_recent=SIM_RECENT),
        ),
        "duoattention": LivePress(
            f"streaming-llm:sinks={DUO_SINKS}+duo:table={table_name},sinks={DUO_SINKS},recent={DUO_RECENT}",
            lambda r: duo_attention(r, table),
        ),
        "kvzip": LivePress("kvzip", lambda r: KVzipPress(r, chunk_size=PROBE_CHUNK), scope="model", needs_probe=True),
    }
