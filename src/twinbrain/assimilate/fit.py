"""``assimilate(network, bold, inputs)``: estimate the drives of the inputs from BOLD, in one of three ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from twinbrain.assimilate import methods
from twinbrain.assimilate.answer import Calibrated
from twinbrain.assimilate.dhmda import run_filter
from twinbrain.assimilate.esmda import EsmdaSettings
from twinbrain.assimilate.inverse import InverseSettings, window
from twinbrain.assimilate.result import Fit
from twinbrain.assimilate.settings import Checkpoint, Progress, Settings, engine_seed
from twinbrain.assimilate.target import observations, repetition_time
from twinbrain.assimilate.units import input_units
from twinbrain.errors import InputError, nearest

if TYPE_CHECKING:
    from twinbrain.drive import Drive
    from twinbrain.network import Network

__all__ = ["METHODS", "Fit", "assimilate"]

METHODS = ("vw-dhmda", "inverse", "esmda")
"""Names accepted by ``assimilate(method=...)``."""


def assimilate(
    network: Network,
    bold: xr.DataArray,
    inputs: Sequence[str],
    *,
    method: str = "vw-dhmda",
    working_point: Calibrated | None = None,
    members: int = 30,
    neurons: int | None = None,
    first_volume: int = 0,
    volumes: int | None = None,
    bounds: tuple[float, float] | None = None,
    target_mean: float | None = None,
    target_scale: float | None = None,
    target_window: tuple[float, float] | None = None,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    standardise: bool = True,
    corrections: int = 1,
    repeats: int = 4,
    steps: int | None = None,
    prior: Fit | Drive | float | None = None,
    prior_sd: float | None = None,
    random_walk_variance: float = 1.21,
    observation_variance: float | None = None,
    local_gain: float = 0.5,
    lag: int | None = None,
    update_balloon: bool = True,
    warm_up: int = 6,
    min_members: int | None = None,
    seed: int = 0,
    threads: int = 2,
    dt_ms: float = 1.0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 300.0,
) -> Fit:
    """Estimate the current h(t) of the inputs so that the network's BOLD follows the recorded BOLD.

    The result drives a free run of a network of any size: ``simulate(network, drive=fit.drive)``.

    Parameters
    ----------
    network
        The network to be driven, at a working point at which it answers to its inputs.
    bold
        Recorded BOLD (time, region) in any unit, ``attrs["repetition_time_s"]`` in s. NaN = missing volume.
    inputs
        Names of the regions that get a drive, one to all; the voxels of a region share it. Names of single voxels
        of a voxel Brain give these a drive of their own; each is observed by the series of its name in ``bold``,
        or else by that of its region.
    method
        "inverse": deconvolution of BOLD, then the currents that make those rates; seconds to minutes.
        "esmda": an ensemble smoother over the whole series, started from the inverse; gives the posterior spread.
        "vw-dhmda": the published filter with a fixed-lag smoother.
    working_point
        What :func:`calibrate` found for this network. "inverse" takes slope, loop gain and, if its inputs are the
        same, the table of rates from it instead of measuring them.
    members
        Size E of the ensemble of vw-dhmda and esmda, default 30. Memory and time grow in proportion.
    neurons
        Size of the networks used for the fit, ``network.scaled(neurons=neurons)``; default: the network as it is.
    first_volume, volumes
        The stretch of the recording used; default: all.
    bounds
        Open interval of h, model units of current; default (0, 0.12) for vw-dhmda, else (-0.08, 0.3).
    target_mean, target_scale
        Model BOLD at z = 0 and per unit of z. Default 0.022 and 0.004 for vw-dhmda (3 to 15 Hz); for the others by
        the number of inputs, see :func:`twinbrain.assimilate.inverse.window`.
    target_window
        Published alternative, e.g. (0.02, 0.05): smallest and largest z of the inputs at the ends of it.
    band_hz
        Pass band of the target, default (0.01, 0.1) Hz; None = as recorded.
    standardise
        False takes ``bold`` as the target as it is, for BOLD that a model made.
    corrections, repeats
        Of the inverse: free runs after which the drive is corrected (0, 1 or 2), and networks of other wiring that
        are averaged in each of them and in the measurements. Defaults 1 and 4.
    steps, prior, prior_sd
        esmda: how often the series is assimilated; mean of the prior, as a fit or drive of the same inputs and
        volumes or as one current; and its standard deviation. Defaults: the inverse without corrections, with 1 step
        and 0.006; for one current 3 steps and 0.02.
    random_walk_variance
        vw-dhmda: Q, variance per repetition time of the random step of the transformed drive, default 1.21.
    observation_variance
        R, (fraction signal change) squared, must be > 0; default 1e-8, as published, for vw-dhmda, and 3.6e-7 for
        esmda.
    local_gain
        vw-dhmda: rho, share of an input's own observation in its correction (the rest is the mean gain), 0.5.
    lag
        Repetition times back that every observation corrects as well, default 12 (9 s or more is enough), 13 for
        esmda.
    update_balloon
        vw-dhmda: correct the Balloon states of the inputs together with their drives, default True, as published.
    warm_up
        Repetition times at the initial drives before the first volume, default 6.
    min_members
        Healthy members (or networks) below which the work stops; default two thirds.
    seed
        Of the fit; wiring and noise of its networks are derived from it and differ from those of a run with the
        same seed.
    threads
        For the simulation; the result does not depend on it.
    dt_ms
        Integration step, default 1 ms.
    progress
        Called as ``progress(steps done, steps in all)``.
    checkpoint, checkpoint_every_s
        Object with ``load() -> dict | None`` and ``save(dict)``, and the seconds between saves. A resumed
        fit equals an uninterrupted one bit for bit.

    Returns
    -------
    Fit
        Drive, spread, forecasts and diagnostics.

    Raises
    ------
    InputError
        If an input, the BOLD or a setting cannot be used, or too many members diverge.

    See Also
    --------
    twinbrain.assimilate.dhmda.run_filter, twinbrain.assimilate.inverse.run_inverse,
    twinbrain.assimilate.esmda.run_esmda

    References
    ----------
    Zhang, Chen, Feng, Lu: On a framework of data assimilation for hyperparameter estimation of spiking
    neuronal networks, Neural Networks 2024 (arXiv:2206.02986). Emerick, Reynolds: Ensemble smoother with multiple
    data assimilation, Computers & Geosciences 55 (2013) 3-15.

    Examples
    --------
    >>> assimilate.__kwdefaults__["members"], assimilate.__kwdefaults__["repeats"]
    (30, 4)
    """
    if method not in METHODS:
        raise InputError(
            f"method: found '{method}', expected one of {', '.join(METHODS)}{nearest(method, METHODS)}; change it"
        )
    filtering = method == "vw-dhmda"
    low, high = bounds if bounds is not None else ((0.0, 0.12) if filtering else (-0.08, 0.3))
    variance = 1e-8 if observation_variance is None else observation_variance
    settings = Settings(
        members=members,
        bounds=(float(low), float(high)),
        random_walk_variance=random_walk_variance,
        observation_variance=variance,
        local_gain=local_gain,
        lag=12 if lag is None else lag,
        warm_up=warm_up,
        update_balloon=update_balloon,
        min_members=min_members,
        seed=seed,
    )
    inverse = InverseSettings(
        bounds=settings.bounds, corrections=corrections, repeats=repeats, warm_up=max(warm_up, 10), seed=seed
    )
    regions = tuple(str(r) for r in network.brain.regions)
    recorded = tuple(str(r) for r in bold["region"].values) if "region" in getattr(bold, "coords", ()) else ()
    units = input_units(network.brain, inputs, recorded)
    mean, scale = (0.022, 0.004) if filtering else window(len(units.names))
    mean, scale = mean if target_mean is None else target_mean, scale if target_scale is None else target_scale
    target = observations(
        bold,
        first_volume=first_volume,
        volumes=volumes,
        band_hz=band_hz,
        mean=mean,
        scale=scale,
        window=target_window,
        standardise=standardise,
        required=tuple(dict.fromkeys(units.observed_as)),
    )
    kept = [r for r in (*regions, *units.names) if r in target["region"].values]
    target = target.sel(region=list(dict.fromkeys(kept)))
    observed = target.sel(region=list(units.observed_as)).values
    tr = repetition_time(bold)
    small = network if neurons is None else network.scaled(neurons=neurons)
    extra: dict[str, Any] = {
        "first_volume": first_volume,
        "target_mean": mean,
        "target_scale": scale,
        "target_window": "none" if target_window is None else f"{target_window[0]:g}-{target_window[1]:g}",
        "band_hz": "none" if band_hz is None else f"{band_hz[0]:g}-{band_hz[1]:g}",
        "standardise": "yes" if standardise else "no",
        "neurons": "as given" if neurons is None else neurons,
        "dt_ms": dt_ms,
    }
    work = methods.Work(small, units, target, observed, tr, threads, dt_ms, method, extra)
    keeping: dict[str, Any] = {"progress": progress, "checkpoint": checkpoint}
    if filtering:
        engine = methods.make_engine(
            small, members=members, threads=threads, dt_ms=dt_ms, inputs=units.names, seed=engine_seed(seed)
        )
        filtered = run_filter(
            engine,
            observed,
            units,
            tr,
            settings,
            context=methods.describe(small, units.names, dt_ms),
            checkpoint_every_s=checkpoint_every_s,
            **keeping,
        )
        return methods.filtered_fit(work, filtered, settings)
    if method == "inverse":
        return methods.inverse_fit(work, inverse, working_point, every_s=checkpoint_every_s, **keeping)
    flat = isinstance(prior, (int, float))
    smoother = EsmdaSettings(
        members=members,
        bounds=settings.bounds,
        steps=(3 if flat else 1) if steps is None else steps,
        prior_sd=(0.02 if flat else 0.006) if prior_sd is None else prior_sd,
        observation_variance=3.6e-7 if observation_variance is None else observation_variance,
        lag=13 if lag is None else lag,
        warm_up=max(warm_up, 10),
        min_members=min_members,
        seed=seed,
    )
    return methods.esmda_fit(work, smoother, inverse, prior, working_point, every_s=checkpoint_every_s, **keeping)
