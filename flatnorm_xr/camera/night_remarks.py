"""What deserves a look in the files of one camera beside each other: one that differs from the others."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from flatnorm_xr.camera.remarks import has_masks
from flatnorm_xr.errors import offenders

if TYPE_CHECKING:
    from flatnorm_xr.camera.geometry import Amplifier, Detector, Exposure
    from flatnorm_xr.camera.inspect import Inspection

__all__ = ["Described", "at_odds", "at_one_time", "of_other_shape", "remarks_between", "twice", "without_masks"]

Label = int | str

_ONE_EXPOSURE = datetime.timedelta(minutes=10)
"""Files whose times are farther apart are not of one exposure."""


class Described(Protocol):
    """A file whose exposure and detectors are known; without exposure it is left out."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def camera(self) -> str:
        """Name of its profile."""

    @property
    def exposure(self) -> Exposure | None:
        """Its exposure."""

    @property
    def detectors(self) -> tuple[Detector, ...]:
        """What it holds."""


File = TypeVar("File", bound=Described)


def remarks_between(records: Sequence[Inspection]) -> dict[str, list[str]]:
    """Compare files of one camera with each other.

    Parameters
    ----------
    records : sequence of Inspection
        Of any cameras; those without exposure are left out.

    Returns
    -------
    dict of str to list of str
        What deserves a look, by path: a detector of an exposure that is there twice; files of one exposure that do not
        agree on filter, time, kind or exposure time; exposures that may be detectors of one; detectors and amplifiers
        that an exposure lacks and at least half of the others have; an image of another size, or other sections, than
        most exposures have; no data quality, where other files have it; a time before that of an exposure of a lower
        number.
    """
    found: dict[str, list[str]] = defaultdict(list)
    cameras: dict[str, list[Inspection]] = defaultdict(list)
    for record in records:
        if record.exposure is not None:
            cameras[record.camera].append(record)
    for members in cameras.values():
        for check in (_twice, _at_odds, at_one_time, _lacking, of_other_shape, _without_masks, _out_of_order):
            for path, remark in check(members):
                found[path].append(remark)
    return found


def _by_exposure(records: Iterable[File]) -> dict[Label, list[File]]:
    exposures: dict[Label, list[File]] = defaultdict(list)
    for record in records:
        if record.exposure is not None:
            exposures[record.exposure.id].append(record)
    return exposures


class Twice(NamedTuple):
    """Detectors of one exposure that two files have."""

    exposure: Label
    detectors: tuple[Label, ...]
    first: str
    path: str


def twice(records: Iterable[Described]) -> Iterator[Twice]:
    """Find detectors of one exposure that are in more than one file, each beside the first that has it."""
    for label, members in _by_exposure(records).items():
        first: dict[Label, str] = {}
        doubled: dict[tuple[str, str], list[Label]] = defaultdict(list)
        for record in members:
            for detector in record.detectors:
                if detector.id in first:
                    doubled[first[detector.id], record.path].append(detector.id)
                first.setdefault(detector.id, record.path)
        for (path, other), detectors in doubled.items():
            yield Twice(label, tuple(detectors), path, other)


def _twice(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    for one in twice(records):
        yield one.path, f"exposure {one.exposure} of detector {offenders(one.detectors)} is also in {one.first}"


class Odds(NamedTuple):
    """Files of one exposure that do not agree.

    On what, each value and the first file that has it, and whether that means that they are not of one exposure.
    """

    exposure: Label
    what: str
    values: dict[str, str]
    apart: bool


def at_odds(records: Iterable[Described]) -> Iterator[Odds]:
    """Find exposures whose files have another filter, type or exposure time, or times far from each other."""
    for label, members in _by_exposure(records).items():
        for what in ("filters", "times", "types", "exposure times"):
            values: dict[str, str] = {}
            times: list[datetime.datetime] = []
            for record in members:
                value = _told(record, what)
                if isinstance(value, datetime.datetime):
                    times.append(value)
                    if abs(value - times[0]) <= _ONE_EXPOSURE:
                        value = times[0]
                    value = value.isoformat()
                if value is not None:
                    values.setdefault(value, record.path)
            if len(values) > 1:
                yield Odds(label, what, values, what in ("filters", "times"))


def _told(record: Described, what: str) -> Any:
    """Look up what a file says of its exposure; None when it does not."""
    exposure = record.exposure
    if exposure is None:
        return None
    if what == "times":
        return None if exposure.time is None else exposure.time.astype("datetime64[s]").item()
    if what == "exposure times":
        return f"{exposure.exposure_time:g} s" if isfinite(exposure.exposure_time) else None
    return (exposure.physical_filter if what == "filters" else exposure.observation_type) or None


def _at_odds(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    for one in at_odds(records):
        path = next(iter(one.values.values()))
        yield path, f"files of exposure {one.exposure} have different {one.what}: {offenders(one.values)}"


def at_one_time(records: Sequence[Described]) -> Iterator[tuple[str, str]]:
    """Find exposures of one and the same time: perhaps they are detectors of one camera, in files of their own.

    Yields
    ------
    path, remark : str
        One for all such files, with the first of them: for those whose detectors differ, and for others that are
        taken for ``generic``.
    """
    together: dict[Any, dict[Label, Described]] = defaultdict(dict)
    for record in records:
        if record.exposure is not None and record.exposure.time is not None:
            together[record.exposure.time].setdefault(record.exposure.id, record)
    found: dict[str, list[list[Described]]] = defaultdict(list)
    for members in together.values():
        files = list(members.values())
        differ = _differ(files)
        if len(files) > 1 and (differ or files[0].camera == "generic"):
            found[_OTHER if differ else _SAME].append(files)
    for remark, groups in found.items():
        number = sum(map(len, groups))
        times = "the same time" if len(groups) == 1 else f"{len(groups)} times between them"
        yield groups[0][0].path, f"{number} exposures have {times}{remark}"


_OTHER = (
    ", and those of the same time have different detectors: if these are parts of one exposure, give a profile whose "
    "exposure.id they have in common"
)
_SAME = ": is each file a detector, by a keyword that is not known? Then give a profile that knows it"


def _differ(members: Sequence[Described]) -> bool:
    detectors = [detector.id for record in members for detector in record.detectors]
    return len(set(detectors)) == len(detectors)


def without_masks(records: Sequence[Described]) -> Iterator[tuple[str, str]]:
    """Find files without any image of data quality, where others of the camera have them.

    Yields
    ------
    path, remark : str
    """
    lit = [record for record in records if record.detectors]
    masked = {record.path for record in lit if has_masks(record)}
    for record in lit:
        if masked and record.path not in masked:
            yield record.path, "no image of data quality, and other files have it"


def _without_masks(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    """As `without_masks`, where the file itself is not yet said to lack what its profile promises."""
    return without_masks([one for one in records if not any(_MASK in remark for remark in one.remarks)])


_MASK = "no image of data quality"


def _lacking(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    exposures = _by_exposure(records)
    if len(exposures) < 2:
        return
    here: dict[Label, dict[Label, set[str]]] = {
        label: {d.id: {a.name for a in d.amplifiers} for record in members for d in record.detectors}
        for label, members in exposures.items()
    }
    detectors = Counter(detector for found in here.values() for detector in found)
    amplifiers = Counter((detector, name) for found in here.values() for detector in found for name in found[detector])
    for label, found in here.items():
        path = exposures[label][0].path
        absent = [one for one, count in detectors.items() if one not in found and 2 * count >= len(here)]
        if absent:
            yield path, f"exposure {label} has no detector {offenders(absent)}, and most exposures have"
        parts = [
            f"{detector} {name}"
            for (detector, name), count in amplifiers.items()
            if detector in found and name not in found[detector] and 2 * count >= detectors[detector]
        ]
        if parts:
            yield path, f"exposure {label} has no amplifier {offenders(parts)}, and most exposures have"


def of_other_shape(records: Sequence[Described]) -> Iterator[tuple[str, str]]:
    """Find images of another size, or cut into other sections, than that detector has in most exposures.

    Parameters
    ----------
    records : sequence of Inspection or FileDescription
        Of one camera.

    Yields
    ------
    path, remark : str
    """
    sizes: dict[Label, Counter[str]] = defaultdict(Counter)
    sections: dict[tuple[Label, str], Counter[str]] = defaultdict(Counter)
    for record in records:
        for detector in record.detectors:
            sizes[detector.id][_size(detector)] += 1
            for amplifier in detector.amplifiers:
                sections[detector.id, amplifier.name][_sections(amplifier)] += 1
    usual = {label: counts.most_common(1)[0][0] for label, counts in sizes.items()}
    usual_sections = {label: counts.most_common(1)[0][0] for label, counts in sections.items()}
    for record in records:
        resized: dict[tuple[str, str], list[Label]] = defaultdict(list)
        cut: list[Label] = []
        for detector in record.detectors:
            size = _size(detector)
            if size != usual[detector.id]:
                resized[size, usual[detector.id]].append(detector.id)
            elif any(_sections(a) != usual_sections[detector.id, a.name] for a in detector.amplifiers):
                cut.append(detector.id)
        for (one, other), detectors in resized.items():
            yield record.path, f"the image is {one}, in most exposures {other} (detector {offenders(detectors)})"
        if cut:
            yield record.path, f"the sections are others than in most exposures (detector {offenders(cut)})"


def _size(detector: Detector) -> str:
    counted = Counter(f"{shape[1]} x {shape[0]}" for shape in detector.shapes.values())
    return ", ".join(counted)


def _sections(amplifier: Amplifier) -> str:
    return f"{amplifier.data} {amplifier.overscan}"


def _out_of_order(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    exposures = [
        (label, record.exposure.time, record.path)
        for label, (record, *_) in _by_exposure(records).items()
        if isinstance(label, int) and record.exposure is not None and record.exposure.time is not None
    ]
    latest = None
    for label, time, path in sorted(exposures, key=lambda one: one[0]):
        if latest is not None and time < latest[1]:
            yield path, f"exposure {label} was taken before exposure {latest[0]}, says its time"
        else:
            latest = (label, time)
