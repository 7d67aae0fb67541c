"""Sounds: files, rates, channels, and what is heard."""

import numpy as np
import pytest
import soundfile
import torch

from recurra.data.examples import SoundInput, read_sound
from recurra.data.examples.sound import sound_rate
from recurra.errors import ConfigError, DataError
from recurra.testing.tolerances import TOLERANCES


def tone(frequency, seconds=0.5, rate=8000):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 7, 80, 199, 200, 201, 8000])
def test_there_is_a_frame_every_10_ms_and_at_least_one(samples):
    heard = SoundInput(8000, 20).encode(np.random.default_rng(0).normal(size=samples).astype(np.float32))
    assert heard.dtype == np.float32
    assert heard.shape == (max(3 if samples < 200 else 1, (samples + 40) // 80), 20)
    assert np.isfinite(heard).all()


def test_the_same_sound_is_always_heard_the_same():
    waveform = tone(440)
    assert np.array_equal(SoundInput().encode(waveform), SoundInput().encode(waveform.copy()))


def test_a_higher_tone_is_loudest_in_a_higher_band():
    loudest = [SoundInput().encode(tone(f))[10].argmax() for f in (200, 800, 3000)]
    assert loudest == sorted(set(loudest))


def test_ten_times_as_loud_is_log_100_more_everywhere():
    quiet = SoundInput().encode(tone(700) / 10)[10]
    loud = SoundInput().encode(tone(700))[10]
    peak = loud.argmax()
    assert loud[peak] - quiet[peak] == pytest.approx(np.log(100), rel=TOLERANCES[torch.float16]["rtol"])


def test_channels_are_averaged_and_rates_changed(tmp_path):
    path = tmp_path / "x.wav"
    both = np.stack([tone(300, rate=16_000), np.zeros(8000, np.float32)], 1)
    soundfile.write(path, both, 16_000, subtype="FLOAT")
    assert sound_rate(path) == 16_000
    whole = read_sound(path, 16_000)
    np.testing.assert_array_equal(whole.waveform, both.mean(1))
    half = read_sound(path, 8000)
    assert (half.file_rate, len(half.waveform), half.waveform.dtype) == (16_000, 4000, np.float32)
    middle = slice(500, 3500)
    assert np.abs(half.waveform[middle] - tone(300)[middle] / 2).max() < TOLERANCES[torch.bfloat16]["atol"]


@pytest.mark.parametrize("raw", [[], [[0.0, 1.0]], [0.0, float("nan")]])
def test_what_is_no_waveform_is_refused(raw):
    with pytest.raises(DataError):
        SoundInput().encode(raw)


def test_files_that_are_no_sounds_are_refused(tmp_path):
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"not a sound")
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(0, np.float32), 8000)
    for path, reason in ((noise, "no sound that can be read"), (silent, "no samples"), (tmp_path / "x.wav", "exist")):
        with pytest.raises(DataError, match=reason):
            read_sound(path, 8000)
    with pytest.raises(DataError, match="no sound that can be read"):
        sound_rate(noise)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="'rate' must be at least 1000"):
        SoundInput(500)
    with pytest.raises(ConfigError, match=r"160 bands are more than 16,000 Hz can tell apart; lower --mels"):
        SoundInput(16_000, 160).encode(np.zeros(400, np.float32))
