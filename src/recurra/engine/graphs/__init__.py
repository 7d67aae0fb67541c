"""One step as a graph: the language of the engine, its operations, derivatives and masks."""

__all__: list[str] = []
