"""The prompts that networks are trained on: their traces, targets, and the moments of their features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..common.errors import InputError
from .attention import future_attention
from .features import QUERY_WINDOWS, n_features, token_features
from .networks import SMALLEST_DEVIATION
from .trace_input import LayerTensors, ModelShape, Prompt, Trace

KEEP_FIRST, KEEP_LAST = 4, 16  # tokens that are always kept, and that nothing is learned from
SHORTEST = 64  # tokens


@dataclass
class Instance:
    """One prompt with what is learned from it."""

    trace: Trace
    prompt: Prompt

    @property
    def length(self) -> int:
        return self.prompt.length


class TrainingSet:
    """Some prompts of one model. Holds their targets; features and tensors are read anew for each use."""

    def __init__(self, instances: list[Instance], with_queries: bool):
        self.instances, self.with_queries = instances, with_queries
        self.shape: ModelShape = instances[0].trace.shape
        self._targets: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def n_features(self) -> int:
        return n_features(self.shape, self.with_queries)

    @property
    def prompts(self) -> list[Prompt]:
        return [instance.prompt for instance in self.instances]

    def require_output_projections(self) -> None:
        for instance in self.instances:
            for layer in self.shape.layers:
                instance.trace.read_output_projection(layer)

    def subset(self, chosen: list[int]) -> TrainingSet:
        part = TrainingSet([self.instances[index] for index in chosen], self.with_queries)
        part._targets = {
            (new, layer): self._targets[old, layer]
            for new, old in enumerate(chosen)
            for layer in self.shape.layers
            if (old, layer) in self._targets
        }
        return part

    def tensors(self, index: int, layer: int) -> LayerTensors:
        instance = self.instances[index]
        n_window = max(QUERY_WINDOWS) if self.with_queries else 0
        return instance.trace.read_layer(instance.prompt, layer, n_window)

    def features(self, index: int, layer: int, tensors: LayerTensors | None = None) -> torch.Tensor:
        """[n_kv_heads, length, n_features]"""
        tensors = tensors or self.tensors(index, layer)
        return token_features(tensors, self.instances[index].length, self.shape, self.with_queries)

    def target(self, index: int, layer: int, tensors: LayerTensors | None = None) -> torch.Tensor:
        """F, [n_kv_heads, length], computed once."""
        if (index, layer) not in self._targets:
            tensors = tensors or self.tensors(index, layer)
            self._targets[index, layer] = future_attention(tensors, self.instances[index].length, self.shape)
        return self._targets[index, layer]

    def standardise(self, networks: nn.ModuleList) -> None:
        """Sets mu, sd of each network to the moments of all tokens, and its bias to the mean of ln(F + 1e-6)."""
        for network, layer in zip(networks, self.shape.layers):
            total = squares = torch.zeros(())
            bias, n_tokens = torch.zeros(()), 0
            for index, instance in enumerate(self.instances):
                tensors = self.tensors(index, layer)
                features = self.features(index, layer, tensors).double()
                total = total + features.sum(dim=1)
                squares = squares + features.square().sum(dim=1)
                bias = bias + (self.target(index, layer, tensors) + 1e-6).log().double().sum(dim=1)
                n_tokens += instance.length
            mean = total / n_tokens
            deviation = (squares / n_tokens - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_DEVIATION)
            network.mu.copy_(mean)
            network.sd.copy_(deviation)
            network.b.data.copy_(bias / n_tokens)


def open_instances(paths: list[Path]) -> list[Instance]:
    """Every prompt of these traces. InputError: other models, too short, nothing decoded, twice the same."""
    instances: list[Instance] = []
    for path in paths:
        trace = Trace(path)
        if instances and trace.shape != instances[0].trace.shape:
            raise InputError(f"{path} and {instances[0].trace.path} differ: {_difference(instances[0].trace, trace)}")
        for prompt in trace.prompts:
            if prompt.length < SHORTEST:
                raise InputError(f"{prompt.where}: a prompt of {prompt.length} tokens, at least {SHORTEST} are needed")
            if prompt.n_decode_queries == 0:
                raise InputError(f"{prompt.where}: no query of a decoded token is recorded: there is nothing to learn")
            twin = next((other for other in instances if other.prompt.digest == prompt.digest), None)
            if twin is not None:
                raise InputError(f"{prompt.where} has the same tokens as {twin.prompt.where}: give each prompt once")
            instances.append(Instance(trace, prompt))
    return instances


def _difference(first: Trace, second: Trace) -> str:
    a, b = vars(first.shape), vars(second.shape)
    return "; ".join(f"{name} {b[name]} and {a[name]}" for name in a if a[name] != b[name])
