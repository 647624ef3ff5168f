"""What deserves a look in the files of one camera beside each other: one that differs from the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from flatnorm_xr.errors import offenders

if TYPE_CHECKING:
    from flatnorm_xr.camera.geometry import Amplifier, Detector
    from flatnorm_xr.camera.inspect import Inspection

__all__ = ["of_other_shape", "remarks_between"]

Label = int | str


class Described(Protocol):
    """A file whose detectors are known."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def detectors(self) -> tuple[Detector, ...]:
        """What it holds."""


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
        agree on filter, kind or exposure time; detectors and amplifiers that an exposure lacks and at least half of
        the others have; an image of another size, or other sections, than most exposures have; a time before that of an
        exposure of a lower number.
    """
    found: dict[str, list[str]] = defaultdict(list)
    cameras: dict[str, list[Inspection]] = defaultdict(list)
    for record in records:
        if record.exposure is not None:
            cameras[record.camera].append(record)
    for members in cameras.values():
        for check in (_twice, _at_odds, _lacking, of_other_shape, _out_of_order):
            for path, remark in check(members):
                found[path].append(remark)
    return found


def _by_exposure(records: Iterable[Inspection]) -> dict[Label, list[Inspection]]:
    exposures: dict[Label, list[Inspection]] = defaultdict(list)
    for record in records:
        if record.exposure is not None:
            exposures[record.exposure.id].append(record)
    return exposures


def _twice(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    for label, members in _by_exposure(records).items():
        places: dict[Label, list[str]] = defaultdict(list)
        for record in members:
            for detector in record.detectors:
                places[detector.id].append(record.path)
        doubled: dict[tuple[str, str], list[Label]] = defaultdict(list)
        for detector_id, paths in places.items():
            for path in paths[1:]:
                doubled[path, paths[0]].append(detector_id)
        for (path, first), detectors in doubled.items():
            yield path, f"exposure {label} of detector {offenders(detectors)} is also in {first}"


def _at_odds(records: Sequence[Inspection]) -> Iterator[tuple[str, str]]:
    for label, members in _by_exposure(records).items():
        exposures = [record.exposure for record in members if record.exposure is not None]
        for what, values in {
            "filters": [exposure.physical_filter for exposure in exposures],
            "types": [exposure.observation_type for exposure in exposures],
            "exposure times": [f"{exposure.exposure_time:g} s" for exposure in exposures],
        }.items():
            if len(set(values)) > 1:
                yield (
                    members[0].path,
                    f"files of exposure {label} have different {what}: {offenders(dict.fromkeys(values))}",
                )


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
