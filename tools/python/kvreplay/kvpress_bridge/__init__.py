"""kvpress (https://github.com/NVIDIA/kvpress) and kvreplay: its presses as scorers, policies as its presses."""
