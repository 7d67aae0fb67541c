"""Pictures: read, laid on white, brought to one size, and their points as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.config import check_at_least
from recurra.data.examples.batches import Padded
from recurra.data.examples.inputs import Input
from recurra.errors import ConfigError, DataError
from recurra.libraries import need

__all__ = ["PICTURES", "PictureInput", "Shape", "picture_shape", "read_picture"]

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings of files that hold pictures."""
ORIENTATION = 274
"""Number of the entry in which cameras note how they were held."""
GREY_MODES = ("1", "L", "LA", "I", "F", "I;16")


class Shape(NamedTuple):
    """Height and width in points; 1 channel for grey, 3 for red, green and blue."""

    height: int
    width: int
    channels: int


class PictureInput(Input):
    """Pictures of one size.

    Args:
        height, width: in points.
        channels: 1 for grey, 3 for red, green and blue.
    Raises: ConfigError for sizes that no picture has.
    """

    kind = "picture"

    def __init__(self, height: int, width: int, channels: int = 3) -> None:
        check_at_least(1, height=height, width=width)
        if channels not in (1, 3):
            raise ConfigError(f"'channels' is 1 for grey or 3 for red, green and blue, not {channels}")
        self.height, self.width, self.channels = height, width, channels

    def encode(self, raw: Any) -> Any:
        """Points (H, W) or (H, W, C) uint8 -> (C, H, W) float32 in 0 … 1."""
        points = np.asarray(raw)
        if points.dtype != np.uint8:
            raise DataError(f"a picture holds points from 0 to 255 of type uint8, not {points.dtype}")
        points = points[:, :, None] if points.ndim == 2 else points
        wanted = (self.height, self.width, self.channels)
        if points.shape != wanted:
            raise DataError(f"a picture is {wanted} here, not {np.shape(raw)}; read it with read_picture")
        return np.ascontiguousarray(points.transpose(2, 0, 1), np.float32) / np.float32(255)

    def collate(self, encoded: Sequence[Any]) -> Padded:
        """(C, H, W) each -> (B, C, H, W); pictures have no length."""
        return Padded(torch.from_numpy(np.stack(encoded)), None)

    def as_mapping(self) -> dict[str, Any]:
        """Kind and settings."""
        return {"kind": self.kind, "height": self.height, "width": self.width, "channels": self.channels}


def picture_shape(path: Path) -> Shape:
    """Return height, width and channels of a file without reading its points. Raises: DataError if it is no picture."""
    image = need("PIL.Image")
    try:
        with image.open(path) as picture:
            lying = picture.getexif().get(ORIENTATION, 1) > 4  # the camera was held on its side
            width, height = picture.size[::-1] if lying else picture.size
            return Shape(height, width, 1 if picture.mode in GREY_MODES else 3)
    except Exception as error:  # the library raises nothing more precise
        raise DataError(f"cannot read {path}: {_reason(path, error)}") from None


def read_picture(path: Path, height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Read a file as (H, W) grey or (H, W, 3) points; what it lets through is white.

    Raises: DataError if it is missing or no picture.
    """
    image, operations = need("PIL.Image"), need("PIL.ImageOps")
    try:
        with image.open(path) as opened:
            picture = operations.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16 bits for each point
                picture = image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = image.alpha_composite(image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("L" if channels == 1 else "RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), image.Resampling.BILINEAR)
            return np.array(picture, np.uint8)
    except Exception as error:  # the library raises nothing more precise
        raise DataError(f"cannot read {path}: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    """Say in a few words why a file cannot be read."""
    if not path.exists():
        return "it does not exist"
    return "it is no picture that can be read" if "cannot identify" in str(error) else str(error).partition("\n")[0]
