"""Run the pipeline on a repository in this process, and read the solutions that it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsst.daf.butler import Butler
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

if TYPE_CHECKING:
    from flatnorm_xr.lsst.repository import Repository

__all__ = ["PIPELINE", "FilterSolution", "read_solutions", "run_pipeline"]

PIPELINE = Path(__file__).parent / "pipelines" / "flatnorm.yaml"
"""The packaged pipeline."""

SOLUTIONS = {"detector": "cpFlatNormSolution", "amplifier": "cpFlatNormAmpSolution"}
"""Dataset type of the solution at each level."""


@dataclass(frozen=True)
class FilterSolution:
    """What the pipeline found in one filter at one level."""

    physical_filter: str
    level: str
    dataset_type: str
    units: int
    rms_residual: float
    exposures: tuple[int, ...]
    E: tuple[float, ...]


def run_pipeline(repository: Repository, *, output: str) -> list[FilterSolution]:
    """Run all tasks whose inputs the repository has, one after the other.

    Parameters
    ----------
    repository : Repository
        What `flatnorm_xr.lsst.repository.make_repository` made.
    output : str
        Collection to make, or to add a run to.

    Returns
    -------
    list of FilterSolution
        By filter and level; a filter of which nothing could be measured is not among them.
    """
    root = str(repository.path)
    with _opened(root) as butler:  # flattened as pipetask does, which can then add runs to the same output
        inputs = butler.collections.query([repository.collection], flatten_chains=True)
    butler = SimplePipelineExecutor.prep_butler(root, inputs=inputs, output=output)
    try:
        executor = SimplePipelineExecutor.from_pipeline_filename(
            f"{PIPELINE}#{repository.tasks}" if repository.tasks else str(PIPELINE),
            butler=butler,
            output=output,
            raise_on_partial_outputs=False,  # an exposure without a scale costs no other its own
        )
        executor.run(register_dataset_types=True)
    finally:
        butler.close()
    return list(read_solutions(repository, output=output))


def read_solutions(repository: Repository, *, output: str) -> Iterator[FilterSolution]:
    """Read the solutions of a collection, by filter and level."""
    with _opened(str(repository.path), collections=output) as butler:
        known = {name for name in SOLUTIONS.values() if butler.registry.queryDatasetTypes(name)}
        for physical_filter in repository.filters:
            for level, name in SOLUTIONS.items():
                data_id = {"instrument": repository.instrument, "physical_filter": physical_filter}
                if name not in known or butler.find_dataset(name, data_id) is None:
                    continue
                solution = butler.get(name, data_id)
                yield FilterSolution(
                    physical_filter=physical_filter,
                    level=level,
                    dataset_type=name,
                    units=int(solution["G"].notnull().sum()),
                    rms_residual=float(solution.attrs["rms_residual"]),
                    exposures=tuple(solution["exposure"].values.tolist()),
                    E=tuple(solution["E"].values.tolist()),
                )


@contextmanager
def _opened(root: str, **options: Any) -> Iterator[Butler]:
    butler = Butler.from_config(root, **options)
    try:
        yield butler
    finally:
        butler.close()
