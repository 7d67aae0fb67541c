"""ONNX: graphs that other runtimes read, and weights of graphs that others wrote."""

from recurra.export.onnx.reading import from_onnx
from recurra.export.onnx.runner import OnnxModel
from recurra.export.onnx.writing import to_onnx

__all__ = ["OnnxModel", "from_onnx", "to_onnx"]
