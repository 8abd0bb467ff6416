"""The presses that the golden data comes from, each with the policy of kvreplay that shall keep the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kvreplay import to_kvpress

FOLDER = Path(__file__).resolve().parent
# Small enough that both kinds of heads and of layers occur in prompts of some 400 tokens.
DUO_SINKS, DUO_RECENT = 8, 48
SIM_RECENT = 64
PROBE_CHUNK = 150


@dataclass
class LivePress:
    policy: str
    scope: str = "head"
    attention: str = "sdpa"  # how the model has to attend
    small_heads_only: bool = False  # it draws a random sketch, which tells nothing only where heads are smaller
    needs_probe: bool = False

    def make(self, ratio: float):
        """ratio: share removed"""
        press = to_kvpress(self.policy, compression_ratio=ratio)
        if self.needs_probe:
            press.chunk_size = PROBE_CHUNK
        if hasattr(press, "table"):
            press.table = str(FOLDER / press.table)
        return press


def live_presses(table: str, lazy_threshold: float) -> dict[str, LivePress]:
    """By name. `table`: a file of this folder, or a path; gates [n_layers, n_kv_heads] for DuoAttention."""
    lazy = f"threshold={lazy_threshold:g},sinks=4,recent={SIM_RECENT},last=1"
    gates = f"table={table},sinks={DUO_SINKS},recent={DUO_RECENT}"
    return {
        "knorm": LivePress("knorm"),
        "streaming-llm": LivePress("streaming-llm"),
        "snapkv": LivePress("snapkv"),
        "pyramidkv": LivePress("pyramidkv"),
        "tova": LivePress("tova"),
        "observed-attention": LivePress("attention", attention="eager"),
        "expected-attention": LivePress("expected-attention"),
        "expected-attention-mean": LivePress("expected-attention:covariance=no"),
        "expected-attention-plain": LivePress("expected-attention:value_norm=no"),
        "cap": LivePress("capkv"),
        "keydiff": LivePress("keydiff"),
        "lagkv": LivePress("lagkv"),
        "lagkv-small": LivePress("lagkv:lag=32"),
        "lagkv-cross": LivePress("lagkv:lag=32,cross=yes"),
        "cur": LivePress("cur"),
        "cur-key": LivePress("cur:product=key"),
        "cur-value": LivePress("cur:product=value"),
        "cur-average": LivePress("cur:product=avg"),
        "leverage": LivePress("leverage:dialect=kvpress", small_heads_only=True),
        "non-causal": LivePress("non-causal"),
        "compactor": LivePress("compactor:sketch=48", small_heads_only=True),
        "critical-snapkv": LivePress("critical-snapkv"),
        "critical-expected-attention": LivePress("expected-attention:value_norm=no+critical"),
        "ada-snapkv": LivePress("ada-snapkv", scope="layer"),
        "ada-expected-attention": LivePress("ada-expected-attention", scope="layer"),
        "critical-adakv": LivePress("critical-adakv", scope="layer"),
        "chunkkv": LivePress("chunkkv", scope="chunks"),
        "simlayerkv": LivePress(f"streaming-llm+simlayer:{lazy}"),
        "duoattention": LivePress(f"streaming-llm:sinks={DUO_SINKS}+duo:{gates}"),
        "kvzip": LivePress("kvzip", scope="model", needs_probe=True),
    }
