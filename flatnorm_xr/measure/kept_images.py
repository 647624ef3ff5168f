"""Images of bias and mask files, which serve every exposure: read once, and kept as far as there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.headers import FileHeaders

if TYPE_CHECKING:
    from flatnorm_xr.measure.words import RawImage

__all__ = ["ImageStore", "kept_images", "read_images"]

Kept = TypeVar("Kept")
Key = TypeVar("Key", bound=Hashable)

_OVERHEAD = 1000
"""Bytes of a key and an entry, whatever the image."""


@dataclass
class _Shelf(Generic[Kept]):
    """What is kept of one bias or mask."""

    images: dict[Hashable, Kept] = field(default_factory=dict)
    nbytes: int = 0
    full: bool = False
    making: dict[Hashable, threading.Lock] = field(default_factory=dict)

    def of(self, keys: Sequence[Key]) -> dict[Key, Kept]:
        return {key: self.images[key] for key in keys if key in self.images}


class ImageStore(Generic[Kept]):
    """Images that were made before, by the bias or mask they are of (``owner``) and by key; for any number of threads.

    Exposure after exposure asks for the same images in the same order. So what is kept stays kept, and what no longer
    fits is made anew each time: a store that makes room by dropping what was not used for the longest would drop
    every image just before it is asked for again. Only images of other owners make room.
    """

    def __init__(self, limit: int, size: Callable[[Kept], int]) -> None:
        """Hold up to ``limit`` bytes; ``size`` tells those of an image."""
        self.limit = limit
        self._size = size
        self._shelves: OrderedDict[Hashable, _Shelf[Kept]] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> Any:
        """Refuse to be copied to another process: every process has a store of its own."""
        raise TypeError

    @property
    def nbytes(self) -> int:
        """Memory that the images take."""
        return sum(shelf.nbytes for shelf in list(self._shelves.values()))

    def get(
        self,
        keys: Sequence[Key],
        make: Callable[[Sequence[Key]], Iterable[Kept]],
        *,
        owner: Hashable,
        besides: Callable[[], Sequence[Key]] = tuple,
    ) -> list[Kept]:
        """Images of several keys; what one thread is making is not made by another, which waits.

        Parameters
        ----------
        keys : sequence
            What is asked for.
        make : callable
            Keys of images that are not there to the images, in the same order.
        owner : hashable
            What the images are of.
        besides : callable, optional
            Keys of images that are best made at the same time, because it costs little; called when an image is not
            there and there is still room.
        """
        with self._lock:
            shelf = self._shelves.setdefault(owner, _Shelf())
            self._shelves.move_to_end(owner)
        found = shelf.of(keys)
        if len(found) < len(keys) and not shelf.full:
            also = besides()
            with shelf.making.setdefault((also or keys)[0], threading.Lock()):
                found = shelf.of(keys)
                if len(found) < len(keys):
                    found |= self._made(shelf, keys, keys if shelf.full else (*also, *keys), make)
        lacking = [key for key in keys if key not in found]
        if lacking:
            found |= zip(lacking, make(lacking), strict=True)
        return [found[key] for key in keys]

    def _made(
        self,
        shelf: _Shelf[Kept],
        keys: Sequence[Key],
        wanted: Sequence[Key],
        make: Callable[[Sequence[Key]], Iterable[Kept]],
    ) -> dict[Key, Kept]:
        """Make what is not there, keep what fits of it, and give what is asked for; in the memory of one more image.

        Nothing is given to others before all was made: that a packed file is damaged shows at its end.
        """
        lacking = [key for key in dict.fromkeys(wanted) if key not in shelf.images]
        found: dict[Key, Kept] = {}
        fitting: dict[Hashable, Kept] = {}
        taken = 0
        try:
            for key, image in zip(lacking, make(lacking), strict=True):
                if room := self._find_room(shelf, image):
                    fitting[key], taken = image, taken + room
                if key in keys:
                    found[key] = image
        except BaseException:
            with self._lock:
                shelf.nbytes -= taken
                shelf.full = False  # others may have found no room for this
            raise
        shelf.images |= fitting
        shelf.full = shelf.full or len(fitting) < len(lacking)
        return found

    def forget(self, owner: Hashable) -> None:
        """Drop all images of an owner, which is gone."""
        with self._lock:
            self._shelves.pop(owner, None)

    def _find_room(self, shelf: _Shelf[Kept], image: Kept) -> int:
        """Take room for an image, if need be that of other owners; give its bytes, or 0 where there is no room."""
        size = _OVERHEAD + self._size(image)
        with self._lock:
            if shelf.nbytes + size > self.limit:
                return 0
            others = [owner for owner, other in self._shelves.items() if other is not shelf]
            while others and self.nbytes + size > self.limit:
                del self._shelves[others.pop(0)]
            shelf.nbytes += size
        return size


def kept_images(
    store: ImageStore[Kept],
    source: FileHeaders,
    hdus: Sequence[int],
    read: Callable[[Sequence[int]], Iterable[Kept]],
    *,
    owner: Hashable,
) -> list[Kept]:
    """Images of a file by the numbers of their HDUs, from the store or else read.

    A file that is packed as a whole is unpacked from its beginning, so that all its images are read at once.

    Parameters
    ----------
    store : ImageStore
        Where they are kept.
    source : FileHeaders
        The file.
    hdus : sequence of int
        What is asked for.
    read : callable
        Numbers of HDUs to images.
    owner : hashable
        The bias or mask.
    """

    def whole() -> list[tuple[str, int]]:
        return [(source.path, hdu.index) for hdu in source.images] if source.packed else []

    def read_keys(keys: Sequence[tuple[str, int]]) -> Iterable[Kept]:
        return read([hdu for _, hdu in keys])

    return store.get([(source.path, hdu) for hdu in hdus], read_keys, owner=owner, besides=whole)


def read_images(
    source: FileHeaders, hdus: Sequence[int], convert: Callable[[int, RawImage], Kept], *, verify: bool = False
) -> Iterator[Kept]:
    """Read images of a file one after the other, in the memory of one.

    Parameters
    ----------
    source : FileHeaders
        The file.
    hdus : sequence of int
        Numbers of the HDUs.
    convert : callable
        What to make of an image, from its HDU's number and its words. These are its own to change and to keep: they lie
        in memory of their own, for what is read once need not be given the memory of frames.
    verify : bool
        Compare the bytes with the header's checksums.

    Raises
    ------
    Unreadable
        An image that is damaged, or whose checksums are others.
    """
    from flatnorm_xr.measure.words import Buffers, open_words

    with open_words(source, buffers=Buffers(0)) as words:
        for hdu in hdus:
            fault = words.verify(hdu) if verify else ""
            if fault:
                msg = f"HDU {hdu}: {fault}"
                raise Unreadable(msg)
            yield convert(hdu, words(hdu))
            words.release()
