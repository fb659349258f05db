"""The two stages that every piece of work on a person begins with, by the study: working point, then drive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import xarray as xr

from twinbrain.assimilate.adjust import nmda_share_of
from twinbrain.assimilate.calibrate import LOOP_GAINS, calibrate
from twinbrain.assimilate.fit import Fit, assimilate
from twinbrain.assimilate.search import NotHeldError
from twinbrain.assimilate.settings import Checkpoint
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.config import Study
from twinbrain.errors import InputError
from twinbrain.network import Network

__all__ = ["calibrated", "fitted"]

_LOG = logging.getLogger(__name__)
_Tell = Callable[[int, int], None]
_MORE_NMDA = 0.8  # of the excitatory charge: the canonical circuit then holds further from its second state
_LESS_GAIN = (0.85, 0.7)  # of the default loop gain


def calibrated(study: Study, network: Network, tell: _Tell | None = None) -> WorkingPoint:
    """Find the working point of a network as the study asks for it.

    Where a network would not hold at the defaults, what the study leaves open gives way: first more of the excitation
    goes through NMDA (0.8), then the loop gain is lowered to 0.85 and 0.7 of its default. What was refused on the way
    is logged and kept in ``settings["refused"]``. What the study names is never changed.

    Raises
    ------
    InputError
        If the network holds at none of these.

    Examples
    --------
    >>> calibrated.__annotations__["return"]
    'WorkingPoint'
    """
    wanted, execution = study.calibration, study.execution
    furthest = 0

    def forward(done: int, total: int) -> None:  # another try begins anew; the bar stays where it is
        nonlocal furthest
        furthest = max(furthest, done)
        if tell is not None:
            tell(furthest, total)

    refused: list[str] = []
    tries = _tries(study, network)
    for share, gain in tries:
        try:
            point = calibrate(
                network,
                study.assimilation.inputs,
                rate_hz=wanted.rate_hz,
                loop_gain=gain,
                nmda_share=share,
                neurons_per_region=wanted.neurons_per_region,
                margin=wanted.margin,
                seed=wanted.seed,
                threads=execution.threads,
                dt_ms=execution.dt_ms,
                progress=forward,
            )
        except NotHeldError as error:
            if len(tries) == 1:
                raise
            refused.append(str(error))
            _LOG.warning("%s", error)
            continue
        return replace(point, settings={**point.settings, "refused": "; then ".join(refused)}) if refused else point
    share, gain = tries[-1]
    shares = "" if share is None else f", NMDA up to {share:g}"
    raise InputError(
        f"{refused[-1]}; found so down to a loop gain of {gain or LOOP_GAINS[network.circuit]:.2f}{shares}: set "
        "calibration.loop_gain lower or calibration.nmda_share higher, or give more neurons or synapses"
    )


def _tries(study: Study, network: Network) -> list[tuple[float | None, float | None]]:
    """Return pairs of NMDA share and loop gain in the order in which they are tried; None is the default."""
    wanted = study.calibration
    share, gain = None if wanted.nmda_share < 0 else wanted.nmda_share, wanted.loop_gain or None
    tries = [(share, gain)]
    if share is None and nmda_share_of(network.set) < _MORE_NMDA:
        share = _MORE_NMDA
        tries.append((share, gain))
    if gain is None:
        tries += [(share, round(part * LOOP_GAINS[network.circuit], 3)) for part in _LESS_GAIN]
    return tries


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
