"""Checksums of FITS: the ones' complement sum of a data unit as 32-bit words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from flatnorm_xr.compiled import compiled

__all__ = ["add_sums", "ones_complement_sum", "verify_sums"]


def ones_complement_sum(data: npt.NDArray[np.uint8]) -> int:
    """Sum of big-endian 32-bit words, carries added to the low end; a last word that is cut counts with zeros behind.

    Parameters
    ----------
    data : array of uint8, 1-D, contiguous

    References
    ----------
    FITS Standard 4.0, appendix J.

    Examples
    --------
    >>> ones_complement_sum(np.array([255, 255, 255, 255, 0, 0, 0, 2], dtype="u1"))
    2
    """
    whole = len(data) // 4 * 4
    total = int(_add_words(data[:whole].view(np.uint32)))
    total += int.from_bytes(bytes(data[whole:]).ljust(4, b"\0"), "big")
    return add_sums([total])


def add_sums(sums: Iterable[int]) -> int:
    """Add such sums as the words themselves are added: the sum of DATASUMs is that of all the data.

    Examples
    --------
    >>> add_sums([0xFFFFFFFF, 2])
    2
    """
    total = sum(sums)
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


@compiled()
def _add_words(words: npt.NDArray[np.uint32]) -> int:
    """Sum of words whose bytes are in the other order than the machine's."""
    total = np.uint64(0)
    for word in words:
        turned = (word >> 24) | ((word >> 8) & 0xFF00) | ((word << 8) & 0xFF0000) | (word << 24)
        total += np.uint64(np.uint32(turned))
    return total  # type: ignore[return-value]


def verify_sums(data: npt.NDArray[np.uint8], header: bytes, *, datasum: int | None, checksum: bool) -> str:
    """Compare a data unit with its DATASUM, and header and data with CHECKSUM.

    Parameters
    ----------
    data : array of uint8
        The data unit without its padding, which is zero.
    header : bytes
        The header, padding and all.
    datasum : int or None
        What the header says.
    checksum : bool
        Whether the header has a CHECKSUM, which makes the sum of header and data all ones.

    Returns
    -------
    str
        What is wrong, or nothing.
    """
    found = ones_complement_sum(data)
    if datasum is not None and _differ(found, datasum):
        return f"the sum of its bytes is {found}, and DATASUM is {datasum}"
    if checksum and _differ(add_sums([found, ones_complement_sum(np.frombuffer(header, np.uint8))]), 0):
        return "its header and bytes do not add up to CHECKSUM"
    return ""


def _differ(one: int, other: int) -> bool:
    """Zero has two signs in ones' complement."""
    return one % 0xFFFFFFFF != other % 0xFFFFFFFF
