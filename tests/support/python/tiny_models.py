"""Random models of a few thousand weights and a byte-level tokenizer, made in code and saved to a folder."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BOS, EOS = "<|begin|>", "<|end|>"
MERGES = ["t h", "th e", "Ġ the", "e r", "i n", "Ġ a", "Ġ c", "o n"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|begin|>{{ message['role'] }}\n{{ message['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant\n{% endif %}"
)


def tiny_vocabulary() -> list[str]:
    """BOS, EOS, the 256 bytes and a few merged pieces."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [BOS, EOS] + alphabet + [merge.replace(" ", "") for merge in MERGES]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Prepends BOS to plain texts, as Llama's does."""
    vocabulary = {text: i for i, text in enumerate(tiny_vocabulary())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in MERGES]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(BOS, special=True), AddedToken(EOS, special=True)])
    template = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, chat_template=CHAT_TEMPLATE
    )


VOCAB_SIZE = len(tiny_vocabulary())
# An initializer range far above the usual one, so that attention is uneven.
SHAPE = dict(
    vocab_size=VOCAB_SIZE,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    initializer_range=0.3,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=1,
    tie_word_embeddings=False,
)


def tiny_config(kind: str, **changes):
    """The configuration of a tiny model of one of the families in the tests."""
    import transformers as t

    settings = {
        "llama": (t.LlamaConfig, {}),
        "qwen3": (t.Qwen3Config, dict(head_dim=16)),  # q and k norms
        "gemma2": (
            t.Gemma2Config,
            dict(head_dim=16, query_pre_attn_scalar=20, attn_logit_softcapping=3.0, sliding_window=8),
        ),
        "gemma3": (
            t.Gemma3TextConfig,
            dict(  # 4 heads of 16 in a stream of 32; local and global RoPE
                head_dim=16,
                query_pre_attn_scalar=20,
                sliding_window=8,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            ),
        ),
        "smollm3": (t.SmolLM3Config, dict(no_rope_layers=[1, 0, 1])),
        "cohere": (t.CohereConfig, {}),  # interleaved RoPE, attention and MLP in parallel
        "gpt_oss": (t.GptOssConfig, dict(head_dim=16, num_local_experts=2, num_experts_per_tok=1)),
        "llama4": (
            t.Llama4TextConfig,
            dict(head_dim=16, num_local_experts=2, attention_chunk_size=8, intermediate_size_mlp=48),
        ),
        "deepseek": (
            t.DeepseekV3Config,
            dict(
                kv_lora_rank=8,
                q_lora_rank=8,
                qk_rope_head_dim=8,
                qk_nope_head_dim=8,
                v_head_dim=8,
                n_routed_experts=2,
                num_experts_per_tok=1,
                n_group=1,
                topk_group=1,
                first_k_dense_replace=3,
                num_key_value_heads=4,
            ),
        ),
        "bloom": (t.BloomConfig, dict(n_head=4, n_layer=2)),
    }
    config_class, own = settings[kind]
    return config_class(**{**SHAPE, **own, **changes})


def save_tiny_model(folder: Path, kind: str, alter=None, **changes) -> Path:
    """Saves a model and the tokenizer; `alter(model)` may change its weights first."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(20)
    model = AutoModelForCausalLM.from_config(tiny_config(kind, **changes))
    if alter is not None:
        with torch.no_grad():
            alter(model)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
