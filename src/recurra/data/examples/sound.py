"""Sounds: read as waveforms, heard as energies in mel bands."""

from __future__ import annotations

from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.config import check_at_least
from recurra.data.examples.inputs import Input
from recurra.errors import ConfigError, DataError
from recurra.libraries import need

__all__ = ["SOUNDS", "Sound", "SoundInput", "read_sound", "sound_rate"]

SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"})
"""Endings of files that hold sounds."""
FRAME_MS, SHIFT_MS = 25, 10
LOUDEST = 32_768
"""What Kaldi takes for the loudest sample; silence is then clearly below everything that is heard."""
HIGHEST_RATE = 16_000
"""Rates above it are halved away by default: speech and most sounds of animals lie below its half."""

RATES = range(1000, 768_001)
"""Samples per second that files may have; others come of damage, and bringing them to another takes all memory."""

PIECE = 1 << 16
"""Samples read at once."""


class Sound(NamedTuple):
    """A waveform (N,) float32 in -1 … 1, and the samples per second that its file had."""

    waveform: NDArray[np.float32]
    file_rate: int


class SoundInput(Input):
    """Waveforms as logarithms of their energy in mel bands, every 10 ms over 25 ms.

    Args:
        rate: samples per second of the waveforms.
        mels: bands F.
    Raises: ConfigError for a rate or bands that cannot be; when a sound is encoded, if they do not fit each other.
    Source: Davis & Mermelstein 1980, the bands; as Kaldi computes them.
    """

    kind = "sound"

    def __init__(self, rate: int = 8000, mels: int = 40) -> None:
        check_at_least(1000, rate=rate)
        check_at_least(3, mels=mels)
        self.rate, self.mels = rate, mels

    @cached_property
    def _options(self) -> Any:
        options = need("kaldi_native_fbank").FbankOptions()
        frames, bands = options.frame_opts, options.mel_opts
        frames.samp_freq, frames.frame_length_ms, frames.frame_shift_ms = self.rate, FRAME_MS, SHIFT_MS
        frames.dither, frames.snip_edges = 0.0, False  # no dither: the same sound gives the same numbers
        bands.num_bins = self.mels
        return options

    def encode(self, raw: Any) -> Any:
        """A waveform (N,) -> (T, F) float32, T = N / (rate / 100) rounded, at least 1."""
        try:
            waveform = np.asarray(raw, np.float32)
        except (TypeError, ValueError):
            raise DataError(f"a sound is a waveform (samples,), not {str(raw)[:40]!r}") from None
        if waveform.ndim != 1 or not len(waveform):
            raise DataError(f"a sound is a waveform (samples,) of at least one sample, not {np.shape(raw)}")
        if not np.isfinite(waveform).all():
            raise DataError("the sound holds samples that are not numbers")
        shortest = self.rate * FRAME_MS // 1000
        if len(waveform) < shortest:
            waveform = np.pad(waveform, (0, shortest - len(waveform)))
        try:
            reader = need("kaldi_native_fbank").OnlineFbank(self._options)
        except ValueError:
            raise ConfigError(
                f"{self.mels} bands are more than {self.rate:,} Hz can tell apart; lower --mels"
            ) from None
        reader.accept_waveform(self.rate, waveform * np.float32(LOUDEST))
        reader.input_finished()
        return np.stack([reader.get_frame(t) for t in range(reader.num_frames_ready)])

    def as_mapping(self) -> dict[str, Any]:
        """Kind and settings."""
        return {"kind": self.kind, "rate": self.rate, "mels": self.mels}


def sound_rate(path: Path) -> int:
    """Return the samples per second of a file. Raises: DataError if it is no sound."""
    soundfile = need("soundfile")
    try:
        return _possible(path, int(soundfile.info(str(path)).samplerate))
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"cannot read {path}: {_reason(path, error)}") from None


def read_sound(path: Path, rate: int) -> Sound:
    """Read a file as one channel, the mean of all it has, with `rate` samples per second.

    Raises: DataError if it is missing, no sound, or empty.
    """
    soundfile = need("soundfile")
    sound_rate(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            file_rate = int(file.samplerate)
            # Piece by piece: how many samples there are is what the header says, and memory for so many need not be.
            parts = []
            while len(samples := file.read(PIECE, dtype="float32", always_2d=True)):
                parts.append(samples.mean(axis=1, dtype=np.float32))
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"cannot read {path}: {_reason(path, error)}") from None
    if not parts:
        raise DataError(f"cannot read {path}: it has no samples")
    waveform = np.concatenate(parts)
    if file_rate != rate:
        shared = gcd(rate, file_rate)
        resampled = need("scipy.signal").resample_poly(waveform, rate // shared, file_rate // shared)
        waveform = np.ascontiguousarray(resampled, np.float32)
    return Sound(waveform, file_rate)


def _possible(path: Path, rate: int) -> int:
    if rate not in RATES:
        raise DataError(
            f"cannot read {path}: it says {rate:,} samples per second, where sounds have {RATES[0]:,} to {RATES[-1]:,}"
        )
    return rate


def _reason(path: Path, error: Exception) -> str:
    """Say in a few words why a file cannot be read; the library names the path again."""
    if not path.exists():
        return "it does not exist"
    return "it is no sound that can be read" if "rror opening" in str(error) else str(error).splitlines()[0]
