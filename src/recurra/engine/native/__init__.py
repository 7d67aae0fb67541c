"""Compiled loops on tensors: memory, the scripts of a forward and a backward pass, and autograd."""
