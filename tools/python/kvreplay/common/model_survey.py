"""Finds out by two short forward passes how a model attends, and refuses by name what a trace cannot carry."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from .attention_hook import AttentionCall, AttentionHook, refuse_infinite
from .errors import InputError, UsageError, first_line
from .residual_stream import ResidualStream, find_block
from .rotary_embedding import Rope, Rotation, RotationWitness, match_rope, rope_candidates

N_SURVEY_TOKENS = 32  # enough to tell rotations apart
PROJECTION_NAMES = ("o_proj", "out_proj", "dense", "c_proj", "wo")
# Arguments of the attention function that change nothing; any other tensor does until somebody has looked at it.
HARMLESS_EXTRAS = {
    "position_ids",
    "cache_position",
    "position_embeddings",
    "past_key_values",
    "head_mask",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
}
NAMED_EXTRAS = {"s_aux": "attention sinks as extra logits (s_aux)"}


@dataclass
class LayerFacts:
    index: int
    module: torch.nn.Module
    sliding_window: int  # 0: full attention
    rope: Rope | None
    projection: torch.nn.Module | None
    block: torch.nn.Module | None  # where the residual stream can be read, or None


@dataclass
class ModelFacts:
    n_layers: int
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    value_dim: int
    hidden_size: int
    softmax_scale: float
    logit_softcap: float
    rope: Rope | None  # of the first layer that rotates
    layers: list[LayerFacts]  # the ones to record, ascending


def survey_model(
    model, hook: AttentionHook, witness: RotationWitness, layers: list[int] | None, with_projection: bool
) -> ModelFacts:
    """`layers`: indices to record, None for all. Throws UsageError for unknown ones, InputError for unfit models."""
    config = model.config.get_text_config()
    _refuse_by_configuration(config)
    n_layers = config.num_hidden_layers
    unknown = [index for index in layers or [] if index >= n_layers]
    if unknown:
        raise UsageError(f"--layers: no layer {unknown[0]}; the model has {n_layers} (0 to {n_layers - 1})")

    calls, rotations = _survey_pass(model, hook, witness)
    wanted = list(range(n_layers)) if layers is None else layers
    absent = [index for index in wanted if index not in calls]
    if not calls:
        raise InputError("its attention does not go through the attention interface of transformers")
    if absent:
        raise InputError(
            f"layer {absent[0]} has no attention that goes through the attention interface; "
            f"--layers {','.join(map(str, sorted(calls)))} would record those that do"
        )
    _refuse_shared_cache(calls)
    for index in wanted:
        _refuse_extras(calls[index])
    _refuse_differences([calls[index] for index in wanted])

    ropes = _layer_ropes(model, wanted, rotations)
    facts = [
        LayerFacts(
            index,
            calls[index].module,
            calls[index].window,
            ropes[index],
            _projection(calls[index]) if with_projection else None,
            find_block(model, calls[index].module),
        )
        for index in wanted
    ]
    _check_projections_and_blocks(model, hook, facts)
    first = calls[wanted[0]]
    return ModelFacts(
        n_layers=n_layers,
        n_q_heads=first.query.shape[1],
        n_kv_heads=first.key.shape[1],
        head_dim=first.query.shape[-1],
        value_dim=first.value.shape[-1],
        hidden_size=config.hidden_size,
        softmax_scale=first.scaling,
        logit_softcap=first.softcap,
        rope=next((rope for rope in ropes.values() if rope is not None and rope.inv_freq.any()), None),
        layers=facts,
    )


def _survey_pass(model, hook, witness) -> tuple[dict[int, AttentionCall], dict[int, Rotation]]:
    """Runs a few tokens; returns each layer's call, and its rotation if it rotates."""
    calls: dict[int, AttentionCall] = {}
    rotations: dict[int, Rotation] = {}

    def listen(call: AttentionCall) -> None:
        if call.layer in calls:
            raise InputError(f"layer {call.layer} attends more than once in one pass (cross-attention, shared blocks?)")
        calls[call.layer] = call
        new = call.new_tokens()
        refuse_infinite(call.layer, new)
        if rotation := witness.take(new["keys"][None], call.layer):
            rotations[call.layer] = rotation.of_row(0)

    hook.listener = listen
    _run_survey_tokens(model)
    return calls, rotations


def _run_survey_tokens(model) -> None:
    config = model.config.get_text_config()
    n = min(N_SURVEY_TOKENS, getattr(config, "max_position_embeddings", None) or N_SURVEY_TOKENS)
    ids = torch.arange(n, device=model.device)[None] % config.vocab_size
    try:
        with torch.no_grad():
            model(input_ids=ids, use_cache=True)
    except InputError:
        raise
    except Exception as error:  # whatever an unforeseen model trips over
        raise InputError(f"the model does not run with the recorder's attention: {first_line(error)}") from error


def _refuse_by_configuration(config) -> None:
    if getattr(config, "kv_lora_rank", None):
        raise InputError(
            "latent keys and values (MLA, kv_lora_rank) cannot be recorded: the cache holds neither keys nor values"
        )
    if getattr(config, "num_kv_shared_layers", None):
        raise InputError("layers that share their keys and values (num_kv_shared_layers) cannot be recorded")


def _refuse_extras(call: AttentionCall) -> None:
    for name, value in call.extras.items():
        if torch.is_tensor(value) and name not in HARMLESS_EXTRAS:
            described = NAMED_EXTRAS.get(name, f"'{name}' in its attention")
            raise InputError(f"layer {call.layer} uses {described}, which a trace has no place for")


def _refuse_shared_cache(calls: dict[int, AttentionCall]) -> None:
    """Two layers never have the same keys by chance."""
    seen: dict[bytes, int] = {}
    for index, call in sorted(calls.items()):
        last = call.key[0, :, -1].float().cpu().numpy().tobytes()
        if last in seen:
            raise InputError(f"layers {seen[last]} and {index} share their keys, which a trace cannot say")
        seen[last] = index


def _refuse_differences(calls: list[AttentionCall]) -> None:
    """A trace has one shape, one scale and one softcap for all its layers."""

    def shape(call: AttentionCall) -> dict[str, float]:
        return {
            "query heads": call.query.shape[1],
            "key heads": call.key.shape[1],
            "value heads": call.value.shape[1],
            "head sizes": call.query.shape[-1],
            "value sizes": call.value.shape[-1],
            "softmax scales": call.scaling,
            "softcaps": call.softcap,
        }

    first = shape(calls[0])
    if first["key heads"] != first["value heads"] or first["query heads"] % first["key heads"]:
        raise InputError(
            f"{first['query heads']} query heads do not share {first['key heads']} key heads and "
            f"{first['value heads']} value heads evenly"
        )
    for call in calls[1:]:
        for name, value in shape(call).items():
            if value != first[name]:
                raise InputError(
                    f"the {name} differ: {first[name]} in layer {calls[0].layer}, {value} in layer {call.layer}; "
                    "record such layers apart with --layers"
                )


def _layer_ropes(model, layers: list[int], rotations: dict[int, Rotation]) -> dict[int, Rope | None]:
    """Each layer's RoPE; zero frequencies for a layer without, in a model that has RoPE elsewhere."""
    candidates = rope_candidates(model)
    if not rotations:
        modules = {type(module).__module__ for module in model.modules()}
        if candidates or any(_rotates_somehow(name) for name in modules):
            raise InputError("the model rotates its keys by code of its own, not by apply_rotary_pos_emb")
        return dict.fromkeys(layers)
    matched = {index: match_rope(rotation, candidates, index) for index, rotation in sorted(rotations.items())}
    layouts = {rope.layout for rope in matched.values()}
    if len(layouts) > 1:
        raise InputError("the layers pair the dimensions of RoPE in different ways")
    pattern = next(iter(matched.values()))
    still = Rope(pattern.layout, torch.zeros_like(pattern.inv_freq), 1.0)
    return {index: matched.get(index, still) for index in layers}


def _rotates_somehow(module_name: str) -> bool:
    names = vars(sys.modules[module_name]) if module_name.startswith("transformers.models.") else ()
    return any("rotary" in name.lower() for name in names)


def _projection(call: AttentionCall) -> torch.nn.Module:
    """The linear map from the concatenated heads to the residual stream."""
    for name in PROJECTION_NAMES:
        projection = getattr(call.module, name, None)
        if getattr(projection, "weight", None) is not None and projection.weight.is_floating_point():
            return projection
    raise InputError(
        f"layer {call.layer}: no output projection in {type(call.module).__name__}; "
        "--no-output-projection records without it"
    )


def projection_weight(projection: torch.nn.Module) -> torch.Tensor:
    """W_O as a trace has it, [n_q_heads * value_dim, hidden_size]."""
    from transformers.pytorch_utils import Conv1D

    weight = projection.weight.detach()
    return weight if isinstance(projection, Conv1D) else weight.T  # GPT-2 keeps it the other way round


def _check_projections_and_blocks(model, hook: AttentionHook, facts: list[LayerFacts]) -> None:
    """A second pass: are the heads what the output projection gets, and where is the residual stream?"""
    outputs: dict[int, torch.Tensor] = {}
    hook.listener = lambda call: outputs.__setitem__(call.layer, call.output)
    handles = []

    def check(index: int):
        def compare(module, inputs):
            heads = outputs[index].flatten(start_dim=2)
            if inputs[0].shape != heads.shape or not torch.equal(inputs[0], heads):
                raise InputError(
                    f"layer {index}: its heads are changed before the output projection (gated attention?); "
                    "--no-output-projection records without it"
                )

        return compare

    streams = {layer.index: ResidualStream(layer.block) for layer in facts if layer.block is not None}
    try:
        for layer in facts:
            if layer.projection is not None:
                handles.append(layer.projection.register_forward_pre_hook(check(layer.index)))
        for stream in streams.values():
            stream.attach()
        _run_survey_tokens(model)
        for layer in facts:
            if layer.block is not None and not streams[layer.index].passes_attention():
                layer.block = None
    finally:
        for handle in handles:
            handle.remove()
        for stream in streams.values():
            stream.detach()
