"""Inverse frequencies of RoPE from config.json's words, and the rotation of keys and queries by them.

The recorder does not trust configurations and watches a model rotate; here there is no model. Kinds that depend on the
length of the prompt are refused by name.
"""

from __future__ import annotations

import math

import numpy as np

from ..common.errors import InputError
from ..common.nearest_name import unknown_name
from ..common.trace_writer import TracedRope

LAYOUTS = ("half", "interleaved", "gguf")
HALF = set(
    "llama mistral mixtral qwen2 qwen2_moe qwen3 qwen3_moe gemma gemma2 gemma3 gemma3_text phi phi3 gpt_neox olmo olmo2 "
    "smollm3 granite stablelm starcoder2 falcon".split()
)
INTERLEAVED = set("cohere cohere2 gptj codegen glm glm4".split())
# The weights of these are permuted on their way into a GGUF file, where pairs lie side by side.
INTERLEAVED_IN_GGUF = set("llama mistral mixtral granite olmo smollm3".split())


def layer_ropes(shape, config: dict, head_dim: int, windows: list[int], source: str) -> list[TracedRope]:
    """[n_layers]. `shape`: the map's table [model]; `windows` [n_layers] tells sliding layers from others."""
    layout = _layout(shape.rope_layout, config, source)
    still = config.get("no_rope_layers")  # SmolLM3: 1 where a layer rotates
    ropes = []
    for layer, window in enumerate(windows):
        parameters = _parameters(shape, config, window > 0, source)
        rope = _rope(layout, parameters, shape, config, head_dim, source)
        if isinstance(still, list) and layer < len(still) and not still[layer]:
            rope = TracedRope(layout, np.zeros_like(rope.inv_freq))
        ropes.append(rope)
    return ropes


def rotate(values: np.ndarray, positions: np.ndarray, rope: TracedRope) -> np.ndarray:
    """Rotates float64 [heads, n, head_dim] at `positions` [n]; dimensions beyond the rotary ones pass through."""
    angles = positions[:, None] * rope.inv_freq
    cos, sin = np.cos(angles) * rope.attention_scaling, np.sin(angles) * rope.attention_scaling
    n_pairs = len(rope.inv_freq)
    if rope.layout == "half":
        first, second = slice(0, n_pairs), slice(n_pairs, 2 * n_pairs)
    else:
        first, second = slice(0, 2 * n_pairs, 2), slice(1, 2 * n_pairs, 2)
    rotated = values.copy()
    rotated[..., first] = values[..., first] * cos - values[..., second] * sin
    rotated[..., second] = values[..., second] * cos + values[..., first] * sin
    return rotated


def _layout(given: str | None, config: dict, source: str) -> str:
    if given is not None:
        if given not in LAYOUTS:
            raise InputError(f"{source}: model.rope_layout: {unknown_name('layout', given, LAYOUTS)}")
        if given != "gguf":
            return given
    kind = config.get("model_type")
    if given == "gguf" and kind in INTERLEAVED_IN_GGUF:
        return "interleaved"
    if kind in HALF:
        return "half"
    if kind in INTERLEAVED:
        return "interleaved"
    raise InputError(
        f"{source}: which dimensions RoPE pairs is not known for model_type {kind!r}: give model.rope_layout in the "
        "map, 'half' for (i, i + d/2), 'interleaved' for (2i, 2i + 1); or rope = 'none' where the model has no RoPE"
    )


def _parameters(shape, config: dict, slides: bool, source: str) -> dict:
    """One layer's rope_type, rope_theta and what belongs to them."""
    if shape.rope_theta is not None:
        return {"rope_type": "default", "rope_theta": shape.rope_theta}
    own = config.get("rope_parameters")  # of transformers 5
    if isinstance(own, dict):
        inner = own.get("sliding_attention" if slides else "full_attention", own)
        if isinstance(inner, dict):
            return {"rope_theta": config.get("rope_theta"), **inner}
    theta = config.get("rope_theta", config.get("rotary_emb_base", 10000.0 if config else None))
    if slides and (local := config.get("rope_local_base_freq")) is not None:
        return {"rope_type": "default", "rope_theta": local}
    scaling = config.get("rope_scaling")
    if scaling is not None and not isinstance(scaling, dict):
        raise InputError(f"{source}: rope_scaling: expected an object, found {scaling!r}")
    return {"rope_theta": theta, **(scaling or {})}


def _rope(layout: str, parameters: dict, shape, config: dict, head_dim: int, source: str) -> TracedRope:
    theta = _number(parameters, "rope_theta", source)
    share = parameters.get("partial_rotary_factor", config.get("partial_rotary_factor", config.get("rotary_pct", 1.0)))
    rotary_dim = shape.rotary_dim or config.get("rotary_dim") or int(head_dim * _in_one(share, source))
    if type(rotary_dim) is not int or rotary_dim % 2 or not 2 <= rotary_dim <= head_dim:
        raise InputError(
            f"{source}: expected an even number of rotated dimensions up to {head_dim}, found {rotary_dim}"
        )
    inv_freq = theta ** -(np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    kinds = {"default": _default, "linear": _linear, "llama3": _llama3, "yarn": _yarn}
    if kind not in kinds:
        raise InputError(
            f"{source}: RoPE of the kind {kind!r} depends on more than its configuration: "
            f"{unknown_name('kind', kind, list(kinds))}"
        )
    inv_freq, scaling = kinds[kind](inv_freq, parameters, theta, config, source)
    return TracedRope(layout, inv_freq, scaling)


def _default(inv_freq, parameters, theta, config, source):
    return inv_freq, 1.0


def _linear(inv_freq, parameters, theta, config, source):
    return inv_freq / _number(parameters, "factor", source), 1.0


def _llama3(inv_freq, parameters, theta, config, source):
    """Long wavelengths are stretched, short ones kept, those between blended."""
    factor, low, high, length = (
        _number(parameters, name, source)
        for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    wavelength = 2 * math.pi / inv_freq
    blend = np.clip((length / wavelength - low) / (high - low), 0, 1)
    return (1 - blend) * inv_freq / factor + blend * inv_freq, 1.0


def _yarn(inv_freq, parameters, theta, config, source):
    """arXiv 2309.00071, as transformers computes it."""
    factor = _number(parameters, "factor", source)
    length = _number({**config, **parameters}, "original_max_position_embeddings", source)
    fast, slow = parameters.get("beta_fast") or 32, parameters.get("beta_slow") or 1
    n = 2 * len(inv_freq)

    def dimension(rotations: float) -> float:
        return n * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(fast), dimension(slow)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, n - 1)
    ramp = np.clip((np.arange(len(inv_freq)) - low) / max(high - low, 0.001), 0, 1)
    return inv_freq / factor * ramp + inv_freq * (1 - ramp), _yarn_scaling(parameters, factor)


def _yarn_scaling(parameters: dict, factor: float) -> float:
    if (given := parameters.get("attention_factor")) is not None:
        return float(given)

    def grown(mscale: float) -> float:
        return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0

    mscale, of_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return grown(mscale) / grown(of_all) if mscale and of_all else grown(1.0)


def _number(parameters: dict, name: str, source: str) -> float:
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"{source}: RoPE's {name}: expected a positive number, found {value!r}")
    return float(value)


def _in_one(share: object, source: str) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise InputError(f"{source}: partial_rotary_factor: expected a number above 0 and up to 1, found {share!r}")
    return share
