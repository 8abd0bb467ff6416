"""Which press of kvpress keeps the tokens of which policy. tests/golden holds the policies to it, head for head."""

from __future__ import annotations

from dataclasses import dataclass, field

from .policy_text import PolicyPart


@dataclass(frozen=True)
class Twin:
    """A press that keeps what a policy, or some of its parts, keeps.

    arguments: by "PART.PARAMETER" of the policy, the press's argument
    words: values that are no numbers, as the press says them
    free: parameters that change nothing here; all that are not named must have their defaults
    equal: a parameter that must have the value of another one
    advice: values to ask for, where a default is none that the press can be told
    """

    press: str
    arguments: dict[str, str] = field(default_factory=dict)
    words: dict[str, object] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    equal: tuple[str, str] | None = None
    advice: dict[str, str] = field(default_factory=dict)


YES_NO = {"yes": True, "no": False}
SNAPKV = {"snapkv.window": "window_size", "snapkv.kernel": "kernel_size"}
# pooling and group are means, in any order
SNAPKV_FREE = ("snapkv.order",)
CRITICAL = {"critical.first": "first_stage_ratio", "critical.epsilon": "epsilon"}

# Whole policies, by the names of their parts.
POLICIES = {
    ("knorm",): Twin("KnormPress"),
    ("keydiff",): Twin("KeyDiffPress"),
    ("streaming-llm",): Twin("StreamingLLMPress", {"streaming-llm.sinks": "n_sink"}),
    ("snapkv",): Twin("SnapKVPress", SNAPKV, free=SNAPKV_FREE),
    ("tova",): Twin("TOVAPress"),
    ("attention",): Twin("ObservedAttentionPress", free=("attention.kernel",)),
    ("expected-attention",): Twin(
        "ExpectedAttentionPress",
        {
            "expected-attention.sinks": "n_sink",
            "expected-attention.future": "n_future_positions",
            "expected-attention.covariance": "use_covariance",
            "expected-attention.value_norm": "use_vnorm",
            "expected-attention.epsilon": "epsilon",
        },
        YES_NO,
    ),
    ("capkv",): Twin(
        "CapPress",
        {
            "capkv.tau": "tau",
            "capkv.sinks": "n_sink",
            "capkv.future": "n_future_positions",
            "capkv.epsilon": "epsilon",
        },
    ),
    ("lagkv",): Twin(
        "LagKVPress", {"lagkv.sinks": "n_sink", "lagkv.lag": "lag_size", "lagkv.cross": "cross_scoring"}, YES_NO
    ),
    ("cur",): Twin(
        "CURPress",
        {"cur.sinks": "num_sinks", "cur.window": "local_window_size", "cur.product": "leverage_type"},
        {"kv": "kv_product", "key": "key", "value": "value", "avg": "kv_avg"},
    ),
    ("leverage",): Twin(
        "LeverageScorePress", {"leverage.sketch": "sketch_dimension"}, advice={"leverage.sketch": "48"}
    ),
    ("non-causal",): Twin("NonCausalAttnPress", {"non-causal.chunk": "chunk_size"}),
    ("compactor",): Twin(
        "CompactorPress",
        {
            "compactor.first": "sink_size_start",
            "compactor.last": "sink_size_end",
            "compactor.blend": "blending",
            "compactor.chunk": "chunk_size",
            "compactor.sketch": "sketch_dimension",
        },
        {"removed": None},
        advice={"compactor.sketch": "48"},
    ),
    ("snapkv", "pyramid"): Twin("PyramidKVPress", {**SNAPKV, "pyramid.beta": "beta"}, free=SNAPKV_FREE),
    ("streaming-llm", "simlayer"): Twin(
        "SimLayerKVPress",
        {
            "simlayer.threshold": "lazy_threshold",
            "simlayer.last": "n_last",
            "simlayer.recent": "n_recent",
            "simlayer.sinks": "n_initial",
        },
        equal=("streaming-llm.sinks", "simlayer.sinks"),
    ),
    ("streaming-llm", "duo"): Twin(
        "TableDuoAttentionPress",
        {"duo.table": "table", "duo.sinks": "sinks", "duo.recent": "recent"},
        free=("duo.length",),
        equal=("streaming-llm.sinks", "duo.sinks"),
        advice={"duo.table": "FILE"},
    ),
    ("kvzip", "global"): Twin("KVzipPress", {"kvzip.sinks": "n_sink"}),
}

# Presses around the press of a scorer.
WRAPPERS = {
    ("critical",): Twin("CriticalKVPress", CRITICAL),
    ("ada",): Twin("AdaKVPress", {"ada.alpha": "alpha_safeguard"}),
    ("critical", "ada"): Twin("CriticalAdaKVPress", {**CRITICAL, "ada.alpha": "alpha_safeguard"}),
    ("chunk",): Twin("ChunkKVPress", {"chunk.length": "chunk_length"}),
}
# Scorers that they go around. Not those whose scores are other numbers in the same order (streaming-llm), that tie by
# construction (lagkv), or whose press needs a model that attends in another way than the wrapper does (attention).
WRAPPED = (
    "capkv",
    "compactor",
    "cur",
    "expected-attention",
    "keydiff",
    "knorm",
    "leverage",
    "non-causal",
    "snapkv",
    "tova",
)

# Scorers without a press, and the one that comes nearest.
NEAREST = {
    "cake": "snapkv",
    "caote": "tova",
    "capkv-backward": "capkv",
    "capkv-greedy": "capkv",
    "defensive": "snapkv",
    "h2o": "attention",
    "jacap": "capkv",
    "lava": "snapkv",
    "r-kv": "snapkv",
    "sage-kv": "tova",
    "value-norm": "cur",
}


def twins_of(names: tuple[str, ...]) -> list[Twin]:
    """The press for parts of these names, the one inside of it after it; none where there is no such press."""
    if names in POLICIES:
        return [POLICIES[names]]
    scorer, wrapped = names[:1], names[1:]
    if wrapped in WRAPPERS and names[0] in WRAPPED:
        return [WRAPPERS[wrapped], POLICIES[scorer]]
    return []


def own_policy(press: str) -> str | None:
    """The policy that keeps what a press of this class keeps, None where there is none."""
    wrapping = {("SCORER", *names): twin for names, twin in WRAPPERS.items()}
    for names, twin in (POLICIES | wrapping).items():
        if twin.press == press:
            return "+".join(names)
    return None


def arguments_of(twin: Twin, values: dict[str, str]) -> dict[str, object]:
    """What the press is made with. `values` by "PART.PARAMETER". Throws ValueError("PART.PARAMETER") for a value that
    the press cannot be told."""
    return {argument: _value(name, values[name], twin) for name, argument in twin.arguments.items()}


def _value(name: str, text: str, twin: Twin) -> object:
    if text in twin.words:
        return twin.words[text]
    if name == "duo.table":
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    raise ValueError(name)


def misfits(parts: tuple[PolicyPart, ...], twins: list[Twin]) -> list[str]:
    """The parameters, "PART.PARAMETER", at values at which these presses keep other tokens."""
    values = {f"{part.name}.{name}": value for part in parts for name, value in part.values.items()}
    defaults = {f"{part.name}.{name}": value for part in parts for name, value in part.defaults.items()}
    found = []
    for name, value in values.items():
        told = [twin for twin in twins if name in twin.arguments]
        equal = next((twin.equal[1] for twin in twins if twin.equal and twin.equal[0] == name), None)
        if equal is not None:
            fits = value == values[equal]
        elif told:
            fits = _can_be_told(told[0], name, value)
        else:
            fits = value == defaults[name] or any(name in twin.free for twin in twins)
        if not fits:
            found.append(name)
    return found


def _can_be_told(twin: Twin, name: str, value: str) -> bool:
    if name == "duo.table":
        return value != "measured"  # kvpress measures on other texts
    try:
        _value(name, value, twin)
    except ValueError:
        return False
    return True
