"""Pictures: sizes, colours, what is see-through, and files that are none."""

import numpy as np
import pytest
from PIL import Image

from recurra.data.examples import PictureInput, read_picture
from recurra.data.examples.pictures import picture_shape
from recurra.errors import ConfigError, DataError


def save(path, points, mode=None):
    Image.fromarray(np.asarray(points, np.uint8), mode).save(path)
    return path


def test_points_become_numbers_from_0_to_1_by_channel():
    grey = PictureInput(2, 3, 1).encode(np.array([[0, 51, 255], [1, 2, 3]], np.uint8))
    assert (grey.shape, grey.dtype) == ((1, 2, 3), np.float32)
    np.testing.assert_array_equal(grey[0, 0], np.array([0, 51, 255], np.float32) / np.float32(255))
    points = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    coloured = PictureInput(2, 3)
    both = coloured.collate([coloured.encode(points), coloured.encode(points)])
    assert both.values.shape == (2, 3, 2, 3)
    assert (both.lengths, both.rows) == (None, 2)
    assert both.values[1, 2, 1, 0] * 255 == points[1, 0, 2]


@pytest.mark.parametrize("raw", [np.zeros((2, 2)), np.zeros((3, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), "x"])
def test_what_is_no_picture_of_the_size_is_refused(raw):
    with pytest.raises(DataError, match="a picture"):
        PictureInput(2, 2).encode(raw)


def test_grey_and_colours_are_kept_exactly(tmp_path):
    grey = save(tmp_path / "g.png", [[0, 100], [200, 255]])
    assert picture_shape(grey) == (2, 2, 1)
    np.testing.assert_array_equal(read_picture(grey, 2, 2, 1), [[0, 100], [200, 255]])
    coloured = save(tmp_path / "c.png", np.arange(12).reshape(2, 2, 3))
    assert picture_shape(coloured) == (2, 2, 3)
    np.testing.assert_array_equal(read_picture(coloured, 2, 2), np.arange(12).reshape(2, 2, 3))


def test_what_a_picture_lets_through_is_white(tmp_path):
    path = save(tmp_path / "t.png", [[[10, 20, 30, 255], [10, 20, 30, 0]]])
    np.testing.assert_array_equal(read_picture(path, 1, 2), [[[10, 20, 30], [255, 255, 255]]])
    palette = tmp_path / "p.gif"
    Image.open(path).convert("P").save(palette, transparency=0)
    assert (read_picture(palette, 1, 2) == 255).all(-1).any()


def test_pictures_are_brought_to_the_size_and_turned_as_the_camera_was_held(tmp_path):
    path = save(tmp_path / "x.png", np.full((8, 4, 3), 7))
    assert read_picture(path, 4, 2).shape == (4, 2, 3)
    turned = tmp_path / "turned.jpg"
    picture = Image.fromarray(np.full((8, 4, 3), 7, np.uint8))
    exif = picture.getexif()
    exif[274] = 6
    picture.save(turned, exif=exif)
    assert picture_shape(turned)[:2] == (4, 8)
    assert read_picture(turned, 4, 8).shape == (4, 8, 3)


def test_16_bits_become_8(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 257, 65_535]], np.uint16)).save(path)
    np.testing.assert_array_equal(read_picture(path, 1, 3, 1), [[0, 1, 255]])


def test_files_that_are_no_pictures_are_refused(tmp_path):
    noise, cut = tmp_path / "noise.png", tmp_path / "cut.png"
    noise.write_bytes(b"not a picture")
    random = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    cut.write_bytes(save(tmp_path / "whole.png", random).read_bytes()[:600])
    for path, reason in ((noise, "no picture that can be read"), (cut, "truncated"), (tmp_path / "no.png", "exist")):
        with pytest.raises(DataError, match=reason):
            read_picture(path, 32, 32)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="'channels' is 1 for grey or 3"):
        PictureInput(2, 2, 4)
    with pytest.raises(ConfigError, match="'width' must be at least 1"):
        PictureInput(2, 0)
