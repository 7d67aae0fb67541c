"""Native code generated in-process with LLVM."""

__all__: list[str] = []
