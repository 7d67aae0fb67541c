"""Gradients of a language model in evaluation mode, a few tokens at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.models import LanguageModel

__all__ = ["Gradients"]


class Gradients:
    """Gradients of what a model says into its parameters, within a `with`.

    Embeddings of a few tokens are followed by themselves: left to torch, their gradient is a tensor of the whole
    vocabulary, mostly zeros, and with tied weights another sum of two of them.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._embedding = model.embedding
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._embedded: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> Gradients:
        self._hook = self._embedding.register_forward_hook(self._follow)
        self._grad = torch.enable_grad()
        self._grad.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._grad.__exit__(*error)
        self._hook.remove()

    def of(self, loss: Tensor) -> list[Tensor]:
        """Return the gradient of a loss into each parameter, given what was read since the last time."""
        leaves = [leaf for _, leaf in self._embedded]
        found = torch.autograd.grad(loss, [*self.parameters, *leaves], allow_unused=True)
        grads = [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, found, strict=False)]
        for place, p in enumerate(self.parameters):
            if p is self._embedding.weight:
                for (tokens, _), g in zip(self._embedded, found[len(self.parameters) :], strict=True):
                    if g is not None:
                        grads[place].index_add_(0, tokens.flatten(), g.flatten(0, -2))
        self._embedded.clear()
        return grads

    def _follow(self, embedding: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        self._embedded.append((inputs[0], leaf))
        return leaf
