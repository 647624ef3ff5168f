"""Bytes of a FITS file at an offset, whether the file is plain or packed as a whole (gzip and its like)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["FileBytes", "FileStamp", "Unreadable"]

_LARGEST_READ = 1 << 30
"""Linux reads less than 2 GiB at once."""

_SKIP = 1 << 20

_UNPACK = 1 << 14
"""Bytes unpacked at once: zlib copies what it leaves of its input, and what it gave last is lost where it fails."""

_MOST_PACKED = 1100
"""A byte of gzip unpacks to 1032 at most."""

_GZIP = b"\x1f\x8b"

_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]", re.DOTALL)
"""How every member of a gzip file begins; other bytes may happen to look like it."""

_SAME_LENGTH = 45 << 32
"""Files of whole FITS blocks differ by so many bytes or more where gzip, which counts modulo 2**32, has one length."""


class Unreadable(Exception):  # noqa: N818 - a state of the file, which becomes a flag
    """Pixels that cannot be read; the message says why, in one line."""


@contextmanager
def _failures_told() -> Iterator[None]:
    """Make Unreadable of what the system says: a disk that fails, a server that is gone."""
    try:
        yield
    except OSError as error:
        raise Unreadable(one_line(error.strerror or error)) from error


@dataclass(frozen=True)
class FileStamp:
    """Size in bytes and time of change of a file: another one at the same path, or more of it, has another stamp."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """Stamp of what ``os.stat`` found."""
        return cls(status.st_size, status.st_mtime_ns)


class FileBytes:
    """An open file, read by offset into what it holds once unpacked.

    Plain files are read by ``pread``: nothing is mapped, so a file that is cut while it is read ends in a message and
    not in a signal that kills the process. Packed files are unpacked forwards; going back starts again.

    Parameters
    ----------
    path : str
        A regular file.
    stamp : FileStamp, optional
        What the file must still be.

    Raises
    ------
    Unreadable
        It cannot be opened, is not a regular file, or has changed since ``stamp``.
    """

    def __init__(self, path: str, *, stamp: FileStamp | None = None) -> None:
        self._stream: IO[bytes] | None = None
        self._raw: IO[bytes] | None = None
        self._whole = False
        self._broken = ""
        self._position = 0
        with _failures_told():
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not keep us waiting
        try:
            self._begin(stamp)
        except BaseException:
            self.close()
            raise

    @_failures_told()
    def _begin(self, stamp: FileStamp | None) -> None:
        status = os.fstat(self._fd)
        self.stamp = FileStamp.of(status)
        self._wanted = stamp or self.stamp
        if not stat.S_ISREG(status.st_mode):
            msg = "it is a directory" if stat.S_ISDIR(status.st_mode) else "it is not a regular file"
            raise Unreadable(msg)
        self.check_unchanged()
        magic = os.pread(self._fd, 6, 0)
        self._gzip = magic.startswith(_GZIP)
        self._open_stream = _unpacker(magic)

    @property
    def packed(self) -> bool:
        """Whether the file as a whole is packed, so that its size says little of what it holds."""
        return self._open_stream is not None

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._close_stream()
        if self._fd >= 0:
            with suppress(OSError):  # nothing was written that could be lost
                os.close(self._fd)
            self._fd = -1

    def _close_stream(self) -> None:
        for stream in (self._stream, self._raw):
            if stream is not None:
                stream.close()
        self._stream = self._raw = None

    @_failures_told()
    def check_unchanged(self) -> None:
        """Raise Unreadable if size or time of the file are not those of the stamp."""
        now = FileStamp.of(os.fstat(self._fd))
        if now.size != self._wanted.size:
            verb = "grew" if now.size > self._wanted.size else "was cut"
            msg = f"the file {verb} from {self._wanted.size} to {now.size} bytes since its headers were read"
            raise Unreadable(msg)
        if now != self._wanted:
            msg = "the file was written to since its headers were read"
            raise Unreadable(msg)

    @_failures_told()
    def holds_nothing_after(self, offset: int) -> bool:
        """Whether the file is known to end at an offset, without unpacking what lies before it."""
        if not self.packed:
            return offset >= self.stamp.size
        # gzip's last word is the length of the last member; what was cut off ends in any word but that.
        tail = os.pread(self._fd, 4, max(self.stamp.size - 4, 0)) if self._gzip else b""
        if not tail or int.from_bytes(tail, "little") != offset % (1 << 32):
            return False
        return self.stamp.size * _MOST_PACKED < _SAME_LENGTH and not self._has_members()

    def _has_members(self) -> bool:
        """Whether a gzip file may consist of several members; where it says no, that is certain."""
        seen, offset = b"", 1
        while block := os.pread(self._fd, _SKIP, offset):
            if _MEMBER.search(seen + block):
                return True
            seen, offset = (seen + block)[-3:], offset + len(block)
        return False

    @property
    def leftover(self) -> str:
        """Empty, or what is said of bytes behind the packed part of a file that was read to its end."""
        return str(getattr(self._stream, "leftover", ""))

    def check_holds(self, offset: int, length: int) -> None:
        """Raise Unreadable if the file is too small for so many bytes at an offset, before memory is taken for them."""
        lacking = offset + length - (self.stamp.size * _MOST_PACKED if self.packed else self.stamp.size)
        if lacking > 0:
            msg = "the file is far too small for it" if self.packed else f"the file ends {lacking} bytes early"
            raise Unreadable(msg)

    @_failures_told()
    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from an offset; fewer where the file ends; Unreadable if the system fails."""
        if self._open_stream is None:
            return os.pread(self._fd, count, offset)
        self._go_to(offset)
        return self._next(count)

    @_failures_told()
    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer from an offset; Unreadable if the file ends before, or the system fails."""
        done = 0
        if self._open_stream is None:
            while done < len(buffer):
                count = os.preadv(self._fd, [buffer[done : done + _LARGEST_READ]], offset + done)
                if count == 0:
                    break
                done += count
        else:
            self._go_to(offset)
            while done < len(buffer) and (block := self._next(min(_SKIP, len(buffer) - done))):
                buffer[done : done + len(block)] = block
                done += len(block)
        if done < len(buffer):
            msg = f"the file ends {len(buffer) - done} bytes early"
            raise Unreadable(msg)

    def check_rest(self) -> None:
        """Unpack what is left of a packed file that was read from: it ends in a checksum of all of it.

        Does nothing for plain files, nor when it was done before.

        Raises
        ------
        Unreadable
            The file is cut off or damaged; any byte read from it may be wrong.
        """
        if self._broken:
            raise Unreadable(self._broken)
        while self._stream is not None and not self._whole:
            self._next(_SKIP)

    @_failures_told()
    def _go_to(self, offset: int) -> None:
        if self._stream is None or offset < self._position:
            assert self._open_stream is not None
            self._close_stream()
            self._raw = os.fdopen(os.dup(self._fd), "rb")
            self._raw.seek(0)
            try:
                self._stream = self._open_stream(self._raw)
            except Exception as error:
                raise Unreadable(one_line(error)) from error
            self._position = 0
        while self._position < offset and self._next(min(_SKIP, offset - self._position)):
            pass
        if self._position < offset:
            msg = "the file ends within its last HDU"
            raise Unreadable(msg)

    def _next(self, count: int) -> bytes:
        assert self._stream is not None
        try:
            block = self._stream.read(count)
        except Exception as error:  # whatever the unpackers raise on damaged bytes
            self._broken = one_line(error)
            raise Unreadable(self._broken) from error
        self._position += len(block)
        self._whole = self._whole or not block
        return block


class _Gunzip:
    """Stream of what a gzip file holds; where it breaks off, all that comes before is still to be had."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._input = b""
        self.leftover = ""
        self._open_member()

    def _open_member(self) -> None:
        import zlib

        self._unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def close(self) -> None:
        """Forget the input; the file is closed by whoever opened it."""
        self._input = b""

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; none at the end. EOFError or zlib.error at a break."""
        parts: list[bytes] = []
        while count > 0:
            self._input = self._input or self._raw.read(_UNPACK)
            if self._unpack.eof and not self._begin_next():
                break
            if not self._input:
                if any(parts):
                    break
                msg = "the packed file ends early"
                raise EOFError(msg)
            parts.append(self._unpack.decompress(self._input, min(count, _UNPACK)))
            count -= len(parts[-1])
            self._input = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
        return b"".join(parts)

    def _begin_next(self) -> bool:
        """Go to the next member, if there is one: members may be padded, and anything may follow the last."""
        self._input = self._input.lstrip(b"\0")
        while len(self._input) < len(_GZIP) and (more := self._raw.read(_UNPACK)):
            self._input = (self._input + more).lstrip(b"\0")
        if not self._input.startswith(_GZIP):
            if self._input:
                self.leftover = "bytes that are not gzip follow what is packed; the file may lack its end"
            return False
        self._open_member()
        return True


def _unpacker(magic: bytes) -> Callable[[IO[bytes]], Any] | None:
    if magic.startswith(_GZIP):
        return _Gunzip
    if magic.startswith(b"BZh"):
        import bz2

        return lambda raw: bz2.BZ2File(raw)
    if magic.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lambda raw: lzma.LZMAFile(raw)
    if magic.startswith(b"PK\x03\x04"):
        import zipfile

        def first_member(raw: IO[bytes]) -> Any:
            archive = zipfile.ZipFile(raw)
            return archive.open(archive.infolist()[0])

        return first_member
    return None


def one_line(error: object) -> str:
    """Text of an error without line ends."""
    return " ".join(str(error).split()) or type(error).__name__
