"""Slow and obvious: full attention in float64 from a trace alone, and what the model itself computed."""

from pathlib import Path

import h5py
import numpy as np
import torch


def full_attention(trace: h5py.File, sample: str, layer: str) -> np.ndarray:
    """The attention outputs at all recorded queries, float64 [n_recorded, n_q_heads, value_dim]."""
    tensors = trace[f"samples/{sample}/layers/{layer}"]
    queries, keys, values = (tensors[name][()].astype(np.float64) for name in ("queries", "keys", "values"))
    window = int(trace[f"model/layers/{layer}"].attrs["sliding_window"])
    scale, softcap = float(trace.attrs["softmax_scale"]), float(trace.attrs["logit_softcap"])
    group_size = queries.shape[0] // keys.shape[0]
    positions = query_positions(trace, sample)

    outputs = np.empty((queries.shape[1], queries.shape[0], values.shape[2]))
    for head in range(queries.shape[0]):
        for row, t in enumerate(positions):
            begin = max(0, t - window + 1) if window else 0
            logits = scale * keys[head // group_size, begin : t + 1] @ queries[head, row]
            if softcap:
                logits = softcap * np.tanh(logits / softcap)
            weights = np.exp(logits - logits.max())
            outputs[row, head] = weights @ values[head // group_size, begin : t + 1] / weights.sum()
    return outputs


def query_positions(trace: h5py.File, sample: str) -> np.ndarray:
    ranges = trace[f"samples/{sample}/query_ranges"][()]
    return np.concatenate([np.arange(begin, end) for begin, end in ranges])


class ModelRun:
    """One forward pass of the model over given tokens, without the recorder: by transformers' own eager attention.

    heads[layer]: input of o_proj, float64 [n_tokens, n_q_heads, value_dim]
    before[layer], after[layer]: residual stream before the block and after its attention, float32 [n_tokens, hidden]
    raw_keys[layer]: keys before RoPE, float64 [n_kv_heads, n_tokens, head_dim]
    """

    def __init__(self, folder: Path, token_ids: np.ndarray, n_q_heads: int):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
        self.heads, self.before, self.after, self.raw_keys, self.projections = {}, {}, {}, {}, {}
        for index, block in enumerate(model.model.layers):
            self._watch(index, block, n_q_heads, token_ids)
        with torch.no_grad():
            self.logits = model(input_ids=torch.tensor(token_ids[None].astype(np.int64))).logits[0]

    def _watch(self, index: int, block, n_q_heads: int, token_ids: np.ndarray) -> None:
        attention = block.self_attn
        self.projections[index] = attention.o_proj.weight.detach().numpy()

        def keep_heads(module, inputs):
            self.heads[index] = inputs[0][0].unflatten(-1, (n_q_heads, -1)).double().numpy()

        def keep_keys(module, inputs, output):
            keys = output[0] if output.ndim == 4 else output[0].unflatten(-1, (-1, attention.head_dim))
            # [n_tokens, n_kv_heads, head_dim], but Gemma norms its keys after the transposition
            gemma = keys.shape[1] == len(token_ids)
            self.raw_keys[index] = (keys if gemma else keys.transpose(0, 1)).double().numpy()

        def keep_before(module, inputs):
            self.before[index] = inputs[0][0]

        def keep_after(module, inputs, output):
            joined = output[0] if isinstance(output, tuple) else output
            self.after[index] = self.before[index] + joined[0]

        attention.o_proj.register_forward_pre_hook(keep_heads)
        getattr(attention, "k_norm", attention.k_proj).register_forward_hook(keep_keys)
        block.input_layernorm.register_forward_pre_hook(keep_before)
        # Gemma norms the attention's output before it joins the stream.
        gemma = hasattr(block, "pre_feedforward_layernorm")
        (block.post_attention_layernorm if gemma else attention).register_forward_hook(keep_after)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
