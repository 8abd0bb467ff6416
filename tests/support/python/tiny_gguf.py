"""Writes the tiny Llama of these tests as a GGUF file."""

from pathlib import Path

import gguf
import numpy as np

from tests.support.python.tiny_models import CHAT_TEMPLATE, MERGES, SHAPE, tiny_vocabulary


def save_tiny_gguf(path: Path, kind: str = "gpt2", cut: str = "smollm", add_bos: bool = False) -> Path:
    """`kind` and `cut`: tokenizer.ggml.model and tokenizer.ggml.pre."""
    hidden, inner, n_kv, n_layers = 32, 48, 2, SHAPE["num_hidden_layers"]
    texts = tiny_vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny Llama")
    writer.add_block_count(n_layers)
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(n_kv)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(texts))
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(texts)
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(texts) - 2))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(add_bos)
    writer.add_chat_template(CHAT_TEMPLATE)

    random = np.random.default_rng(3)

    def add(name: str, *shape: int) -> None:
        tensor = random.normal(0, 0.3, shape) if len(shape) == 2 else np.ones(shape)
        writer.add_tensor(f"{name}.weight", tensor.astype(np.float32))

    add("token_embd", len(texts), hidden)
    add("output_norm", hidden)
    add("output", len(texts), hidden)
    for layer in range(n_layers):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm", hidden)
        add(f"{block}.attn_q", hidden, hidden)
        add(f"{block}.attn_k", n_kv * 8, hidden)
        add(f"{block}.attn_v", n_kv * 8, hidden)
        add(f"{block}.attn_output", hidden, hidden)
        add(f"{block}.ffn_norm", hidden)
        add(f"{block}.ffn_gate", inner, hidden)
        add(f"{block}.ffn_up", inner, hidden)
        add(f"{block}.ffn_down", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
