"""Which units and exposures are tied together by measured cells, and which cells alone hold a tie."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.sweeps import unit_dims
from flatnorm_xr.errors import DisconnectedError, FlatnormError, offenders

__all__ = ["Components", "bridges", "connect", "disconnected_error", "unit_labels"]


_WALK = 5


class Components(NamedTuple):
    """Connected component of every unit and every exposure; 0 has the most cells, -1 was never measured."""

    unit: xr.DataArray
    exposure: xr.DataArray

    @property
    def number(self) -> int:
        """How many there are."""
        return int(self.unit.max()) + 1

    @property
    def parameters(self) -> int:
        """Free parameters of G and E: one for each unit and exposure, less the free factor of each component."""
        return int((self.unit >= 0).sum()) + int((self.exposure >= 0).sum()) - self.number


def connect(measured: xr.DataArray) -> Components:
    """Find the connected components of units and exposures, numbered by falling size.

    Units and exposures are the two sides of a graph, measured cells its edges. Every exposure starts with a label
    of its own; each sweep gives a unit the smallest label among its exposures and an exposure the smallest among
    its units. The exposure a label names takes over what its followers found, and labels are followed to where
    they lead, so that long chains collapse in few sweeps.

    Parameters
    ----------
    measured : DataArray of bool, (unit dims, exposure)
        Cells with weight.

    Returns
    -------
    Components
        ``unit`` (unit dims) and ``exposure`` (exposure), i4.
    """
    units, measured = unit_dims(measured), measured.compute()
    if (all_tied := _reach_everything(measured)) is not None:
        return all_tied
    n = measured.sizes["exposure"]
    label = xr.DataArray(np.arange(n, dtype="i4"), dims="exposure")
    while True:
        of_unit = _smallest(measured, label, "exposure", none=n)
        reached = xr.ufuncs.minimum(_smallest(measured, of_unit, units, none=n), label)
        hooked = reached.values.copy()
        np.minimum.at(hooked, label.values, reached.values)
        followed = _follow(hooked)
        if np.array_equal(followed, label.values):
            break
        label = label.copy(data=followed)
    seen = measured.any(units)
    cells = measured.sum(units).values
    roots, where = np.unique(label.values[seen.values], return_inverse=True)
    order = np.argsort(-np.bincount(where, weights=cells[seen.values]), kind="stable")
    rank = np.full(n + 1, -1, dtype="i4")
    rank[roots[order]] = np.arange(roots.size)
    unit = of_unit.copy(data=rank[of_unit.values])
    exposure = seen.copy(data=np.where(seen.values, rank[label.values], -1).astype("i4"))
    return Components(unit.rename("component"), exposure.rename("component"))


def _reach_everything(measured: xr.DataArray) -> Components | None:
    """Walk a few steps from the first measured exposure; None unless that reaches all that was measured.

    One component is the rule, and a walk over bool costs a fraction of a sweep of labels.
    """
    units = unit_dims(measured)
    unit_seen, exposure_seen = measured.any("exposure"), measured.any(units)
    reached = xr.zeros_like(exposure_seen)
    reached[{"exposure": int(exposure_seen.values.argmax())}] = True
    for _ in range(_WALK):
        unit_reached = (measured & reached).any("exposure")
        further = (measured & unit_reached).any(units)
        if int(further.sum()) == int(reached.sum()):
            break
        reached = further
    else:
        return None
    if not (reached.equals(exposure_seen) and unit_reached.equals(unit_seen)):
        return None
    return Components(
        (unit_seen.astype("i4") - 1).rename("component"), (exposure_seen.astype("i4") - 1).rename("component")
    )


def bridges(measured: xr.DataArray) -> xr.DataArray:
    """Cells whose loss would disconnect the units and exposures they tie together.

    A cell lies on a cycle unless it is a bridge. Every cell outside a spanning forest gets a random 64-bit number,
    which a walk around its cycle passes on: a forest cell whose numbers cancel (xor to zero) lies on no cycle. The
    odds of a false alarm are 2^-64 a cell.

    Parameters
    ----------
    measured : DataArray of bool, (unit dims, exposure)

    Returns
    -------
    DataArray of bool, same dims
        True at bridges. The only cell of a unit or of an exposure is one.

    Raises
    ------
    FlatnormError
        ``measured`` is not a DataArray of bool.
    """
    if not isinstance(measured, xr.DataArray) or measured.dtype != bool:
        kind = f"a DataArray of {measured.dtype}" if isinstance(measured, xr.DataArray) else type(measured).__name__
        msg = f"bridges: measured is {kind}; it must be a DataArray of bool, such as solution.weight > 0"
        raise FlatnormError(msg)
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    dims = [*unit_dims(measured), "exposure"]
    cells = measured.transpose(*dims).values
    table = cells.reshape(-1, cells.shape[-1])
    row, column = np.nonzero(table)
    n_units, n_exposures = table.shape
    n = n_units + n_exposures
    graph = csr_array((np.ones(row.size, dtype="i1"), (row, column + n_units)), shape=(n, n))
    _, part = connected_components(graph, directed=False)

    parent = np.full(n, -1)
    order = []
    for root in np.unique(part, return_index=True)[1]:
        walk, before = breadth_first_order(graph, root, directed=False)
        parent[walk[1:]] = before[walk[1:]]
        order.append(walk)

    child = np.concatenate([walk[1:] for walk in order])
    tree_row = np.minimum(child, parent[child])
    tree_column = np.maximum(child, parent[child]) - n_units
    numbers = np.zeros(table.shape, dtype="u8")
    numbers[row, column] = np.random.default_rng(20).integers(1, 2**63, size=row.size, dtype="u8")
    numbers[tree_row, tree_column] = 0
    passing = np.concatenate([np.bitwise_xor.reduce(numbers, axis=1), np.bitwise_xor.reduce(numbers, axis=0)])
    for node in child[::-1]:
        passing[parent[node]] ^= passing[node]

    found = np.zeros(table.shape, dtype=bool)
    found[tree_row, tree_column] = passing[child] == 0
    return xr.DataArray(found.reshape(cells.shape), dims=dims, coords=measured.coords, name="bridges").transpose(
        *measured.dims
    )


def disconnected_error(
    component: xr.DataArray, *, caller: str, exposure: xr.DataArray | None = None, where: str = ""
) -> DisconnectedError:
    """Build the error that names the members of the smaller components."""
    number = int(component.max()) + 1
    largest = int((component == 0).sum())
    sets = []
    for k in range(1, min(number, 4)):
        members = f"{_plural(component)} {offenders(unit_labels(component, component == k))}"
        if exposure is not None:
            exposures = exposure["exposure"].values[(exposure == k).values]
            members += f" (exposures {offenders(exposures, show=3)})"
        sets.append(members)
    more = f" (+{number - 4} more sets)" if number > 4 else ""
    remedy = (
        'pass on_disconnected="separate" for one gauge each'
        if caller == "solve"
        else 'use flatnorm_xr.solve with on_disconnected="separate"'
    )
    msg = (
        f"{caller}: {' and '.join(sets)}{more} share no exposure with the other {largest}{where}, so the ratio between "
        f"the sets was not measured. Measure an exposure that has both, or {remedy}."
    )
    return DisconnectedError(msg)


def unit_labels(array: xr.DataArray, where: xr.DataArray) -> list[str]:
    """Labels of the units where ``where`` is True: ``"S1"``, or ``"S1/A"`` with amplifiers."""
    dims = unit_dims(array)
    names = [array[dim].values for dim in dims]
    picked = np.argwhere(where.transpose(*dims).values)
    return ["/".join(str(name[i]) for name, i in zip(names, index, strict=True)) for index in picked]


def _plural(component: xr.DataArray) -> str:
    return "amplifiers" if "amplifier" in component.dims else "detectors"


def _smallest(measured: xr.DataArray, label: xr.DataArray, dim: str | list[str], *, none: int) -> xr.DataArray:
    """Smallest label along ``dim`` over the measured cells; ``none`` where there is none."""
    return label.where(measured, np.int32(none)).min(dim)


def _follow(label: NDArray[np.int32]) -> NDArray[np.int32]:
    """Follow each label to the label it leads to, until nothing changes."""
    while True:
        further: NDArray[np.int32] = label[label]
        if np.array_equal(further, label):
            return further
        label = further
