"""One mask for all exposures of a detector, so that every exposure is measured on the same pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from flatnorm_xr.camera.geometry import Amplifier
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError
from flatnorm_xr.measure.packed_masks import PackedMask, either, pack
from flatnorm_xr.measure.parts import Booleans, Part, blank_pixels, saturated_pixels

if TYPE_CHECKING:
    from flatnorm_xr.measure.frames import Frame

__all__ = ["CommonMask", "add_masks", "frame_mask", "left_out"]


@dataclass(frozen=True)
class _OfAmplifier:
    """Its data section where it was first seen, in which file that was, and what was bad in some exposure."""

    data: Section
    path: str
    mask: PackedMask | None


@dataclass(frozen=True)
class CommonMask:
    """What is bad in at least one exposure of a detector.

    Attributes
    ----------
    detector : int or str
        Its id.
    amplifiers : dict of str to record
        By name; one that was never read is not there.
    """

    detector: int | str
    amplifiers: dict[str, _OfAmplifier]

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return sum(one.mask.nbytes for one in self.amplifiers.values() if one.mask is not None)

    def of(self, amplifier: Amplifier, *, path: str) -> Booleans | None:
        """Bad pixels of an amplifier's data section, the caller's to change; None where none is bad.

        Raises
        ------
        CameraError
            The mask is of another section; ``path`` is the file that has this one.
        """
        found = self.amplifiers.get(amplifier.name)
        if found is None:
            return None
        _check_same(self.detector, amplifier.name, found, amplifier.data, path)
        return None if found.mask is None else found.mask.unpacked()


def frame_mask(frame: Frame, *, path: str, saturated_fraction: float) -> CommonMask:
    """Find what is bad in one exposure of a detector: masked, saturated, or without a value.

    Parameters
    ----------
    frame : Frame
        The amplifiers' parts, with their own bad pixels; None where one cannot be read.
    path : str
        The file, for messages.
    saturated_fraction : float
        An amplifier with more saturated pixels than this share adds nothing to the mask, nor does one without a good
        pixel: their levels are flagged and of no use, and would empty those of the other exposures.

    Returns
    -------
    CommonMask
        Of this exposure alone.
    """
    found = {}
    for amplifier, part in zip(frame.detector.amplifiers, frame.parts, strict=True):
        if part is None:
            continue
        bad = left_out(part, saturated_fraction=saturated_fraction)
        found[amplifier.name] = _OfAmplifier(amplifier.data, path, pack(bad))
    return CommonMask(frame.detector.id, found)


def left_out(part: Part, *, saturated_fraction: float = inf) -> Booleans | None:
    """Find the pixels of a part that do not count: bad, saturated, blank, or without a finite value.

    Parameters
    ----------
    part : Part
        As `measure_parts` takes it; its own values decide, whatever gain or finite offset.
    saturated_fraction : float
        Share of saturated pixels above which nothing is said.

    Returns
    -------
    array of bool, (rows, columns), or None
        The same as the second of `corrected_pixels`, but None where no pixel is left out, too many are saturated, or
        none is good.
    """
    saturated = saturated_pixels(part)
    if saturated is not None and np.count_nonzero(saturated) > saturated_fraction * part.words.size:
        return None
    infinite = ~np.isfinite(part.words) if part.words.dtype.kind == "f" else None
    bad: Booleans | None = None
    for one in (saturated, part.bad, blank_pixels(part), infinite, _without_reference(part)):
        if one is not None:
            bad = np.array(one) if bad is None else np.logical_or(bad, one, out=bad)
    if bad is None or bad.all() or not bad.any():
        return None
    return bad


def _without_reference(part: Part) -> Booleans | None:
    """Pixels of which nobody knows what to subtract."""
    found: Booleans | None = None
    if part.offset is not None and not np.isfinite(part.offset).all():
        rows = np.broadcast_to(~np.isfinite(part.offset), part.words.shape[:1])
        found = np.repeat(rows[:, np.newaxis], part.words.shape[1], axis=1)
    if part.bias is not None:
        unknown = ~np.isfinite(part.bias)
        found = unknown if found is None else found | unknown
    return found


def add_masks(
    masks: Iterable[CommonMask], to: dict[int | str, CommonMask] | None = None
) -> dict[int | str, CommonMask]:
    """Put masks of exposures together, detector by detector.

    Parameters
    ----------
    masks : iterable of CommonMask
        In any order; each is looked at once, so that a generator holds one of them in memory.
    to : dict, optional
        What was put together before; not changed.

    Returns
    -------
    dict of detector id to CommonMask

    Raises
    ------
    CameraError
        An amplifier whose data section is another in another exposure: its pixels are not the same.
    """
    found = dict(to or {})
    for new in masks:
        before = found.get(new.detector)
        if before is None:
            found[new.detector] = new
            continue
        amplifiers = dict(before.amplifiers)
        for name, one in new.amplifiers.items():
            if name in amplifiers:
                first = amplifiers[name]
                _check_same(new.detector, name, first, one.data, one.path)
                one = replace(first, mask=either(first.mask, one.mask))
            amplifiers[name] = one
        found[new.detector] = CommonMask(new.detector, amplifiers)
    return found


def _check_same(detector: int | str, amplifier: str, first: _OfAmplifier, data: Section, path: str) -> None:
    if data != first.data:
        name = f" amplifier {amplifier}" if amplifier else ""
        msg = (
            f"measure: common_mask: the light of detector {detector}{name} is {first.data} in {first.path} and {data} "
            f"in {path}, so its pixels are not the same; measure these exposures apart, or leave out common_mask"
        )
        raise CameraError(msg)
