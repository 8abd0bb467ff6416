"""Records the attention of a Hugging Face causal language model as a kvreplay trace (traces/SCHEMA.md)."""

VERSION = "0.1.0"
