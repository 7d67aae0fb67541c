"""From a cell's step in PyTorch to a graph: recorded, split at the loop, read operation by operation."""

__all__: list[str] = []
