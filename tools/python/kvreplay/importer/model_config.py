"""What a model's config.json says of its attention. What a trace cannot say is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

from ..common.errors import InputError
from ..common.file_roles import check_input
from ..common.nearest_name import unknown_name
from ..common.trace_writer import TracedRope
from .rope_parameters import layer_ropes

MAX_BYTES = 16 * 2**20
# The same thing has several names: Llama's and most others', GPT-2's, Falcon's.
NAMES = {
    "n_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "n_q_heads": ("num_attention_heads", "n_head", "n_heads"),
    "n_kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
}
MOST = {"n_layers": 2**20, "n_q_heads": 2**20, "n_kv_heads": 2**20, "hidden_size": 2**20, "head_dim": 1024}
REFUSED = {
    "kv_lora_rank": "latent keys and values (MLA)",
    "num_kv_shared_layers": "layers that share their keys and values",
    "alibi": "additive biases (ALiBi)",
    "attention_chunk_size": "attention in chunks",
    "scale_attn_by_inverse_layer_idx": "a softmax scale that differs between layers",
}
REFUSED_TYPES = {
    "gpt_oss": "attention sinks as extra logits",
    "bloom": "additive biases (ALiBi)",
    "mpt": "additive biases (ALiBi)",
    "t5": "relative position biases",
}
ALL_LAYERS_SLIDE = {"mistral", "mixtral", "phi3", "starcoder2"}


@dataclass
class ModelShape:
    """What the map's table [model] may say: instead of config.json, or where that is silent."""

    model_id: str | None = None
    n_layers: int | None = None
    n_q_heads: int | None = None
    n_kv_heads: int | None = None
    head_dim: int | None = None
    hidden_size: int | None = None
    softmax_scale: float | None = None
    logit_softcap: float | None = None
    sliding_window: int | list | None = None  # of all layers, or of each
    rope_theta: float | None = None
    rope_layout: str | None = None
    rotary_dim: int | None = None


@dataclass(frozen=True)
class ImportedModel:
    model_id: str
    config: dict
    n_layers: int
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_size: int
    softmax_scale: float
    logit_softcap: float
    sliding_windows: list[int]  # [n_layers]
    ropes: list[TracedRope] | None  # [n_layers]; None: a model without RoPE

    @property
    def group_size(self) -> int:
        return self.n_q_heads // self.n_kv_heads


def read_model(config_path: Path | None, table: dict, where: str, rotary: bool) -> ImportedModel:
    """`table`: [model] of the map called `where`. `rotary`: the map says that keys are, or get, rotated."""
    shape = _shape_of(table, where)
    config, source = {}, where
    if config_path is not None:
        config, source = _read_config(config_path), str(config_path)
    _refuse(config, source)
    facts = {name: _count(name, getattr(shape, name), config, source) for name in ("n_layers", "n_q_heads")}
    facts["n_kv_heads"] = _count("n_kv_heads", shape.n_kv_heads, config, source, default=facts["n_q_heads"])
    facts["hidden_size"] = _count("hidden_size", shape.hidden_size, config, source)
    head_dim = shape.head_dim or config.get("head_dim") or facts["hidden_size"] // facts["n_q_heads"]
    facts["head_dim"] = _checked("head_dim", head_dim, source)
    if facts["n_q_heads"] % facts["n_kv_heads"]:
        raise InputError(
            f"{source}: {facts['n_q_heads']} query heads do not share {facts['n_kv_heads']} KV heads evenly"
        )
    windows = _sliding_windows(shape, config, facts["n_layers"], source)
    return ImportedModel(
        model_id=shape.model_id or config.get("_name_or_path") or config.get("model_type") or "unknown",
        config=config,
        **facts,
        softmax_scale=_positive(
            "softmax_scale", shape.softmax_scale or _scale(config, facts["head_dim"], source), source
        ),
        logit_softcap=_softcap(shape, config, source),
        sliding_windows=windows,
        ropes=layer_ropes(shape, config, facts["head_dim"], windows, source) if rotary else None,
    )


def _shape_of(table: dict, where: str) -> ModelShape:
    known = {each.name: str(each.type) for each in fields(ModelShape)}
    for key, value in table.items():
        if key not in known:
            raise InputError(f"{where}: model: {unknown_name('key', key, list(known))}")
        kinds = [
            kind
            for word, kind in (("str", str), ("int", int), ("float", (int, float)), ("list", list))
            if word in known[key]
        ]
        if isinstance(value, bool) or not any(isinstance(value, kind) for kind in kinds):
            raise InputError(f"{where}: model.{key}: expected {known[key].split(' |')[0]}, found {value!r}")
    return ModelShape(**table)


def _read_config(path: Path) -> dict:
    check_input(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        config = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object of up to {MAX_BYTES} bytes")
    inner = config.get("text_config")  # of models that also see or hear
    return inner if isinstance(inner, dict) else config


def _refuse(config: dict, source: str) -> None:
    for key, what in REFUSED.items():
        if config.get(key):
            raise InputError(f"{source}: {what} ({key}) have no place in a trace")
    if what := REFUSED_TYPES.get(config.get("model_type")):
        raise InputError(f"{source}: {what} ({config['model_type']}) have no place in a trace")


def _count(name: str, given: int | None, config: dict, source: str, default: int | None = None) -> int:
    values = [given, *(config.get(key) for key in NAMES[name]), default]
    value = next((value for value in values if value is not None), None)
    if value is None:
        raise InputError(f"{source}: expected {NAMES[name][0]} (or model.{name} in the map), found none: give --config")
    return _checked(name, value, source)


def _checked(name: str, value: object, source: str) -> int:
    if type(value) is not int or not 1 <= value <= MOST[name]:
        raise InputError(f"{source}: {name}: expected a whole number from 1 to {MOST[name]}, found {value!r}")
    return value


def _positive(name: str, value: object, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"{source}: {name}: expected a positive number, found {value!r}")
    return float(value)


def _scale(config: dict, head_dim: int, source: str) -> float:
    if (scalar := config.get("query_pre_attn_scalar")) is not None:
        return _positive("query_pre_attn_scalar", scalar, source) ** -0.5
    if (multiplier := config.get("attention_multiplier")) is not None:
        return _positive("attention_multiplier", multiplier, source)
    return head_dim**-0.5


def _softcap(shape: ModelShape, config: dict, source: str) -> float:
    cap = shape.logit_softcap if shape.logit_softcap is not None else config.get("attn_logit_softcapping")
    return 0.0 if not cap else _positive("attn_logit_softcapping", cap, source)


def _sliding_windows(shape: ModelShape, config: dict, n_layers: int, source: str) -> list[int]:
    """[n_layers] tokens, 0 for full attention."""
    if isinstance(shape.sliding_window, list):
        windows = shape.sliding_window
        if len(windows) != n_layers or any(type(each) is not int or each < 0 for each in windows):
            raise InputError(f"{source}: sliding_window: expected {n_layers} whole numbers from 0, found {windows}")
        return windows
    if shape.sliding_window is not None:
        return [max(0, shape.sliding_window)] * n_layers
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return [0] * n_layers
    if type(window) is not int or not 0 < window < 2**31:
        raise InputError(f"{source}: sliding_window: expected a whole number from 1, found {window!r}")
    kinds = config.get("layer_types")
    if kinds is None and config.get("model_type") in ALL_LAYERS_SLIDE:
        return [window] * n_layers
    if not isinstance(kinds, list) or len(kinds) != n_layers:
        raise InputError(
            f"{source}: which of the {n_layers} layers slide is not said (layer_types): give "
            "model.sliding_window in the map, for all layers or as a list"
        )
    known = {"full_attention": 0, "sliding_attention": window}
    for kind in kinds:
        if kind not in known:
            raise InputError(f"{source}: layer_types: {unknown_name('kind', kind, list(known))}")
    return [known[kind] for kind in kinds]
