"""The two stages that every piece of work on a person begins with, by the study: working point, then drive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from twinbrain.assimilate.calibrate import calibrate
from twinbrain.assimilate.fit import Fit, assimilate
from twinbrain.assimilate.settings import Checkpoint
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.config import Study
from twinbrain.network import Network

__all__ = ["calibrated", "fitted"]

_Tell = Callable[[int, int], None]


def calibrated(study: Study, network: Network, tell: _Tell | None = None) -> WorkingPoint:
    """Find the working point of a network as the study asks for it.

    Examples
    --------
    >>> calibrated.__annotations__["return"]
    'WorkingPoint'
    """
    wanted, execution = study.calibration, study.execution
    return calibrate(
        network,
        study.assimilation.inputs,
        rate_hz=wanted.rate_hz,
        loop_gain=wanted.loop_gain or None,
        nmda_share=None if wanted.nmda_share < 0 else wanted.nmda_share,
        neurons_per_region=wanted.neurons_per_region,
        margin=wanted.margin,
        seed=wanted.seed,
        threads=execution.threads,
        dt_ms=execution.dt_ms,
        progress=tell,
    )


def fitted(
    study: Study,
    network: Network,
    bold: xr.DataArray,
    point: WorkingPoint | None,
    tell: _Tell | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Estimate the drive of the study's inputs from recorded BOLD as the study asks for it.

    Examples
    --------
    >>> fitted.__annotations__["return"]
    'Fit'
    """
    fit, execution = study.assimilation, study.execution
    of_filter: dict[str, Any] = {
        "random_walk_variance": fit.random_walk_variance,
        "observation_variance": fit.observation_variance,
        "local_gain": fit.local_gain,
        "lag": fit.lag,
    }
    of_inverse: dict[str, Any] = {"working_point": point, "corrections": fit.corrections, "repeats": fit.repeats}
    return assimilate(
        network,
        bold,
        fit.inputs,
        method=fit.method,
        members=fit.members,
        first_volume=fit.first_volume,
        volumes=fit.volumes,
        bounds=(fit.bounds[0], fit.bounds[1]) if fit.bounds else None,
        target_mean=fit.target_mean or None,
        target_scale=fit.target_scale or None,
        band_hz=fit.band_hz,
        warm_up=fit.warm_up,
        seed=fit.seed,
        threads=execution.threads,
        dt_ms=execution.dt_ms,
        progress=tell,
        checkpoint=checkpoint,
        checkpoint_every_s=execution.checkpoint_every_s,
        **(of_filter if fit.method == "vw-dhmda" else of_inverse),
    )
