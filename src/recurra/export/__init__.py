"""What a model becomes elsewhere, and what others have becomes here: ONNX, torch.nn, Keras; formats for a whole run."""

from recurra.export.formats import FORMATS, Exported, Format, export_run
from recurra.export.keras import from_keras, to_keras
from recurra.export.onnx import OnnxModel, from_onnx, to_onnx
from recurra.export.torch_layers import from_torch, to_cells, to_torch

__all__ = [
    "FORMATS",
    "Exported",
    "Format",
    "OnnxModel",
    "export_run",
    "from_keras",
    "from_onnx",
    "from_torch",
    "to_cells",
    "to_keras",
    "to_onnx",
    "to_torch",
]
