"""Compiled loops on tensors: memory, the scripts of a forward and a backward pass, and autograd."""

__all__: list[str] = []
