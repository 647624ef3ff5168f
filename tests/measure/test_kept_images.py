"""The store that keeps images of biases and masks between exposures."""

from __future__ import annotations

import gzip
import pickle
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.errors import CameraError
from flatnorm_xr.measure.kept_images import ImageStore, kept_images, read_images

SIZE = 100_000


def store(images: float) -> ImageStore[str]:
    """Make a store for some images, each of `SIZE` bytes."""
    return ImageStore(int(images * (SIZE + 1000)), lambda _: SIZE)


class Maker:
    """Makes an image of a key, and remembers which it made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, keys: Sequence[int]) -> Iterator[str]:
        for key in keys:
            self.made.append(key)
            yield f"image {key}"


def test_of_images_that_do_not_all_fit_as_many_as_do_are_made_once() -> None:
    """Seventy detectors in each of three exposures, and room for forty."""
    held, maker = store(40.5), Maker()
    for _ in range(3):
        for key in range(70):
            assert held.get([key], maker, owner="mask") == [f"image {key}"]
            assert held.nbytes <= held.limit
    assert maker.made == [*range(70), *range(40, 70), *range(40, 70)]


def test_images_of_others_make_room() -> None:
    held, maker = store(3), Maker()
    for owner, keys in (("first", [1, 2]), ("second", [3]), ("first", [1, 2]), ("third", [5, 6])):
        held.get(keys, maker, owner=owner)
    assert maker.made == [1, 2, 3, 5, 6]
    # the second was not asked for the longest; without it one image of the third would find no room
    held.get([1, 2], maker, owner="first")
    held.get([5, 6], maker, owner="third")
    assert held.nbytes <= held.limit


def test_what_comes_at_little_cost_is_made_too_while_there_is_room() -> None:
    maker = Maker()

    def whole_file() -> Sequence[int]:
        return range(5)

    large = store(5)
    assert large.get([3], maker, owner="mask", besides=whole_file) == ["image 3"]
    assert large.get([1, 4], maker, owner="mask", besides=whole_file) == ["image 1", "image 4"]
    assert maker.made == [0, 1, 2, 3, 4]
    small, maker.made = store(2), []
    for _ in range(2):
        assert small.get([3, 1], maker, owner="mask", besides=whole_file) == ["image 3", "image 1"]
    assert maker.made == [0, 1, 2, 3, 4, 3]


def test_what_is_forgotten_takes_no_room() -> None:
    held, maker = store(2), Maker()
    held.get([1, 2, 3], maker, owner="bias")
    held.forget("bias")
    assert held.nbytes == 0
    held.get([1], maker, owner="bias")
    assert maker.made == [1, 2, 3, 1]


def test_threads_make_an_image_once() -> None:
    held, maker = store(5), Maker()
    together = threading.Barrier(4)

    def ask() -> None:
        together.wait(timeout=30)
        held.get([1, 2], maker, owner="mask")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert maker.made == [1, 2]


def test_what_cannot_be_made_is_tried_again() -> None:
    held = store(5)

    def fail(keys: Sequence[int]) -> Iterator[str]:
        reason = "no"
        raise CameraError(reason)

    with pytest.raises(CameraError):
        held.get([1], fail, owner="mask")
    assert held.get([1], Maker(), owner="mask") == ["image 1"]


def test_nobody_is_given_what_may_yet_prove_damaged() -> None:
    """A file that is packed shows at its end only that what came before was wrong."""
    held, others = store(2.5), Maker()
    held.get([9], Maker(), owner="other")
    before = held.nbytes

    def fail_late(keys: Sequence[int]) -> Iterator[str]:
        for key in keys:
            yield f"damaged {key}"
        assert held.get([2], others, owner="bias") == ["image 2"]
        reason = "no"
        raise CameraError(reason)

    with pytest.raises(CameraError):
        held.get([1, 2], fail_late, owner="bias")
    assert held.nbytes <= before
    assert held.get([1, 2], others, owner="bias") == ["image 1", "image 2"]
    assert others.made == [2, 1, 2]
    assert held.get([1, 2], others, owner="bias") == ["image 1", "image 2"]
    assert others.made == [2, 1, 2]


def test_of_a_packed_file_that_is_damaged_nothing_is_kept(tmp_path: Path) -> None:
    """Its checksum is the last of it: asked for again, its images are again an error."""
    fits = pytest.importorskip("astropy.io.fits")
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.full((4, 5), n, "i2")) for n in (1, 2))]).writeto(
        tmp_path / "a.fits"
    )
    packed = bytearray(gzip.compress((tmp_path / "a.fits").read_bytes() + bytes(1 << 16)))
    packed[-8] ^= 1
    (tmp_path / "a.fits.gz").write_bytes(packed)
    held = store(5)
    for name in ("a.fits", "a.fits.gz"):
        headers = read_headers(tmp_path / name)
        read = partial(read_images, headers, convert=lambda _, raw: f"image {raw.words.max()}")
        for hdu in (1, 2, 1):
            if name == "a.fits":
                assert kept_images(held, headers, [hdu], read, owner=name) == [f"image {hdu}"]
            else:
                with pytest.raises(Unreadable, match="incorrect data check"):
                    kept_images(held, headers, [hdu], read, owner=name)
    assert held.nbytes == 2 * (SIZE + 1000)


def test_every_process_has_a_store_of_its_own() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(store(1))
