"""What a user of kvpress does to learn what one policy loses at one ratio: runs the model with the press over the
prompt, then over the tokens that follow, and looks at their loss.
"""

from __future__ import annotations

import time
from pathlib import Path

import kvpress
import numpy as np
import torch
from transformers import DynamicCache

from kvreplay.common.model_loader import load_model, open_model

# Two policies that add next to nothing to the prefill; observed-attention, which needs the slow attention that returns
# its weights, would be dearer.
PRESSES = {"knorm": kvpress.KnormPress, "snapkv": kvpress.SnapKVPress}
RATIOS = (0.5, 0.9)


class KvpressPeer:
    def __init__(self, model: Path, token_ids: np.ndarray, point: int):
        self.model = load_model(open_model(model, None), "sdpa", "float32", "cpu")
        ids = torch.from_numpy(token_ids.astype(np.int64))[None]
        self.prompt, self.rest = ids[:, :point], ids[:, point:]

    def runs(self) -> list[tuple[str, float]]:
        return [(name, ratio) for name in PRESSES for ratio in RATIOS]

    def time(self, name: str, ratio: float) -> tuple[float, float]:
        """Seconds, and the mean loss of the tokens after the prompt in nats."""
        press = PRESSES[name](compression_ratio=ratio)
        point = self.prompt.shape[1]
        begun = time.perf_counter()
        cache = DynamicCache()
        with press(self.model):
            self.model.model(input_ids=self.prompt, past_key_values=cache, use_cache=True)
        positions = torch.arange(point, point + self.rest.shape[1])[None]
        logits = self.model(input_ids=self.rest, past_key_values=cache, position_ids=positions).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], self.rest[0, 1:])
        return time.perf_counter() - begun, float(loss)
