"""``assimilate(network, bold, inputs)``: estimate the drives of the inputs from BOLD, in one of three ways."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.assimilate.answer import Calibrated
from twinbrain.assimilate.dhmda import Filtered, run_filter
from twinbrain.assimilate.diagnostics import diagnose, plain_settings
from twinbrain.assimilate.inverse import InverseSettings, Inverted, mean_pcc, run_inverse, ticks, window
from twinbrain.assimilate.journal import Journal
from twinbrain.assimilate.linear import region_projection
from twinbrain.assimilate.settings import Checkpoint, Engine, Progress, Settings, engine_seed
from twinbrain.assimilate.target import observations, repetition_time
from twinbrain.assimilate.transform import to_bounded
from twinbrain.assimilate.units import Units, input_units
from twinbrain.errors import InputError, nearest
from twinbrain.observe import sample_steps

if TYPE_CHECKING:
    from twinbrain.drive import Drive
    from twinbrain.network import Network

__all__ = ["METHODS", "Fit", "assimilate"]

METHODS = ("vw-dhmda", "inverse")
"""Names accepted by ``assimilate(method=...)``."""

_CURRENT = "model units of current"
_BOLD = "fraction signal change"


@dataclass(frozen=True, eq=False)
class Fit:
    """Drives estimated from recorded BOLD, with their uncertainty.

    Rows of all arrays are the volumes used; ``time`` is that of the BOLD sample, in s on the clock of the recording.
    Row t of the drive acts during the repetition time that ends with this sample.

    Attributes
    ----------
    drive
        h(t) to be replayed: the lag-smoothed ensemble mean (vw-dhmda), the posterior mean (esmda), or the inverse.
    spread
        (time, input) standard deviation of h: over the members, or for the inverse what the noise of BOLD leaves
        open (Laplace approximation), model units of current.
    inputs
        Names of the driven regions or voxels.
    target
        (time, region) observations on the model's scale, fraction signal change; NaN where none.
    forecast, forecast_spread
        (time, region) mean and standard deviation over the members of the BOLD predicted on the way: inside the
        filter, one repetition time ahead; for esmda and inverse in the last run of the ensemble, for an inverse
        without correction from the rates alone (inputs only, NaN elsewhere). No evidence that the drives are
        right: score a free run for that.
    filter_mean
        vw-dhmda only, else None. (time, input) ensemble mean of h before the row's own observation was used: the
        published estimate, which is late by the delay of BOLD. For comparison, not for replay.
    members_drive
        (time, member, input) h of every member.
    initial
        (member, input) h during the warm-up.
    diagnostics
        Figures (those named ``forecast_...`` are of the forecast above) and settings (``setting_...``).
    method
        "vw-dhmda", "inverse" or "esmda".
    rate
        (time, input) firing rates that explain the target, Hz; None for vw-dhmda.

    Examples
    --------
    >>> Fit.__dataclass_params__.frozen
    True
    """

    drive: Drive
    spread: xr.DataArray
    inputs: tuple[str, ...]
    target: xr.DataArray
    forecast: xr.DataArray
    forecast_spread: xr.DataArray
    filter_mean: xr.DataArray | None
    members_drive: xr.DataArray
    initial: xr.DataArray
    diagnostics: dict[str, float | str]
    method: str = "vw-dhmda"
    rate: xr.DataArray | None = None

    def __repr__(self) -> str:
        named = ", ".join(self.inputs[:3]) + (", ..." if len(self.inputs) > 3 else "")
        count, members = len(self.inputs), self.members_drive.sizes["member"]
        return (
            f"Fit({count} input{'' if count == 1 else 's'} ({named}), {self.target.sizes['time']} volumes of "
            f"{self.drive.repetition_time_s:g} s, {self.method}, {members} member{'' if members == 1 else 's'})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (key.replace("_", " "), str(value) if isinstance(value, str) else f"{value:.3g}")
            for key, value in self.diagnostics.items()
            if not key.startswith("setting_") and "[" not in key
        ]
        body = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
        return f"<table><caption>{html.escape(repr(self))}</caption>{body}</table>"

    def to_dataset(self) -> xr.Dataset:
        """Return the series of the fit (those it has) as one Dataset with the diagnostics as attributes."""
        names = ("spread", "filter_mean", "forecast", "forecast_spread", "target", "rate")
        arrays = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        attrs = {"repetition_time_s": self.drive.repetition_time_s, "shape": self.drive.shape, "method": self.method}
        return xr.Dataset({"drive": self.drive.values} | arrays, attrs=attrs | self.diagnostics)


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
    corrections: int = 1,
    repeats: int = 4,
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
    checkpoint_every: int = 10,
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
        "vw-dhmda": the published filter with a fixed-lag smoother.
    working_point
        What :func:`calibrate` found for this network. "inverse" takes slope, loop gain and, if its inputs are the
        same, the table of rates from it instead of measuring them.
    members
        Size E of the ensemble of vw-dhmda, default 30. Memory and time grow in proportion.
    neurons
        Size of the networks used for the fit, ``network.scaled(neurons=neurons)``; default: the network as it is.
    first_volume, volumes
        The stretch of the recording used; default: all.
    bounds
        Open interval of h, model units of current; default (0, 0.12) for vw-dhmda, (-0.08, 0.3) for inverse.
    target_mean, target_scale
        Model BOLD at z = 0 and per unit of z. Default 0.022 and 0.004 for vw-dhmda (3 to 15 Hz); for the others by
        the number of inputs, see :func:`twinbrain.assimilate.inverse.window`.
    target_window
        Published alternative, e.g. (0.02, 0.05): smallest and largest z of the inputs at the ends of it.
    band_hz
        Pass band of the target, default (0.01, 0.1) Hz; None = as recorded.
    corrections, repeats
        Of the inverse: free runs after which the drive is corrected (0, 1 or 2), and networks of other wiring that
        are averaged in each of them and in the measurements. Defaults 1 and 4.
    random_walk_variance
        vw-dhmda: Q, variance per repetition time of the random step of the transformed drive, default 1.21.
    observation_variance
        R, (fraction signal change) squared, must be > 0; default 1e-8, as published.
    local_gain
        vw-dhmda: rho, share of an input's own observation in its correction (the rest is the mean gain), 0.5.
    lag
        Repetition times back that every observation corrects as well, default 12 (9 s or more is enough).
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
    checkpoint, checkpoint_every
        Object with ``load() -> dict | None`` and ``save(dict)``, and the number of steps between saves. A resumed
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
    twinbrain.assimilate.dhmda.run_filter, twinbrain.assimilate.inverse.run_inverse

    References
    ----------
    Zhang, Chen, Feng, Lu: On a framework of data assimilation for hyperparameter estimation of spiking
    neuronal networks, Neural Networks 2024 (arXiv:2206.02986).

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
        "neurons": "as given" if neurons is None else neurons,
        "dt_ms": dt_ms,
    }
    work = _Work(small, units, target, observed, tr, threads, dt_ms, method, extra)
    keeping: dict[str, Any] = {"progress": progress, "checkpoint": checkpoint}
    if filtering:
        engine = _engine(
            small, members=members, threads=threads, dt_ms=dt_ms, inputs=units.names, seed=engine_seed(seed)
        )
        filtered = run_filter(
            engine,
            observed,
            units,
            tr,
            settings,
            context=_describe(small, units.names, dt_ms),
            checkpoint_every=checkpoint_every,
            **keeping,
        )
        return _filtered_fit(work, filtered, settings)
    return _inverse_fit(work, inverse, working_point, every=checkpoint_every, **keeping)


def _engine(network: Network, **options: Any) -> Engine:
    from twinbrain.simulate import Simulation

    engine: Engine = Simulation(network, **options)
    return engine


def _describe(network: Network, inputs: tuple[str, ...], dt_ms: float) -> str:
    """Say what is simulated, so that a checkpoint of another network is not continued by mistake."""
    return json.dumps([network.describe(), network.brain.regions, inputs, dt_ms], sort_keys=True, default=str)


@dataclass(frozen=True, eq=False)
class _Work:
    """What every method is given, and what it takes to label the result."""

    network: Network
    units: Units
    target: xr.DataArray
    observed: NDArray[np.float64]
    repetition_time_s: float
    threads: int
    dt_ms: float
    method: str
    extra: dict[str, Any]

    def build(self, wiring: int, noise: int) -> Engine:
        return _engine(
            self.network.scaled(seed=wiring), members=1, threads=self.threads, dt_ms=self.dt_ms,
            inputs=self.units.names, seed=noise,
        )  # fmt: skip

    def identity(self, *settings: Any) -> bytes:
        """Hash of everything that determines the result."""
        said = [self.method, _describe(self.network, self.units.names, self.dt_ms), [repr(s) for s in settings]]
        digest = hashlib.sha256(json.dumps(said).encode())
        digest.update(repr((self.observed.shape, self.repetition_time_s)).encode() + self.observed.tobytes())
        return digest.digest()

    @property
    def scored(self) -> tuple[str, ...]:
        """Regions that are the observation of an input."""
        regions = set(map(str, self.network.brain.regions))
        return tuple(name for name in dict.fromkeys(self.units.observed_as) if name in regions)

    def label(self, values: NDArray[np.float64], name: str, units: str, *dims: str) -> xr.DataArray:
        every = {
            "time": self.target["time"].values,
            "input": list(self.units.names),
            "region": [str(r) for r in self.network.brain.regions],
        }
        coords = {d: every[d] if d in every else np.arange(n) for d, n in zip(dims, values.shape, strict=True)}
        attrs = {"units": units, "repetition_time_s": self.repetition_time_s}
        return xr.DataArray(values, dims=dims, coords=coords, name=name, attrs=attrs)

    def drive(self, h: NDArray[np.float64]) -> Drive:
        from twinbrain.drive import Drive

        return Drive(values=self.label(h, "drive", _CURRENT, "time", "input"), repetition_time_s=self.repetition_time_s)


def _filtered_fit(work: _Work, filtered: Filtered, settings: Settings) -> Fit:
    h = to_bounded(filtered.x, settings.bounds)
    forecast = work.label(filtered.forecast, "forecast", _BOLD, "time", "region")
    forecast_spread = work.label(filtered.forecast_spread, "forecast_spread", _BOLD, "time", "region")
    return Fit(
        drive=work.drive(h.mean(axis=1)),
        spread=work.label(h.std(axis=1, ddof=1), "spread", _CURRENT, "time", "input"),
        inputs=work.units.names,
        target=work.target,
        forecast=forecast,
        forecast_spread=forecast_spread,
        filter_mean=work.label(filtered.filter_mean, "filter_mean", _CURRENT, "time", "input"),
        members_drive=work.label(h, "members_drive", _CURRENT, "time", "member", "input"),
        initial=work.label(filtered.initial, "initial", _CURRENT, "member", "input"),
        diagnostics=diagnose(filtered, work.target, forecast, forecast_spread, work.scored, settings, work.extra),
        method=work.method,
    )


def _inverse_fit(
    work: _Work,
    settings: InverseSettings,
    working_point: Calibrated | None,
    *,
    progress: Progress | None,
    checkpoint: Checkpoint | None,
    every: int,
) -> Fit:
    rows, units = len(work.observed), work.units
    journal = Journal(
        work.identity(settings, None if working_point is None else sorted(map(str, working_point.to_dict().items()))),
        ticks(rows, len(units.names), settings),
        progress=progress,
        checkpoint=checkpoint,
        every=every,
    )
    found = _invert(work, settings, working_point, journal)
    predicted = np.full((rows, units.observation.shape[0]), np.nan)
    for j, name in enumerate(units.names):
        if name == units.observed_as[j]:
            predicted[:, units.region[j]] = found.rates.predicted[:, j]
    spread = np.full_like(predicted, np.nan)
    if found.replayed is not None and found.spread_bold is not None:
        predicted, spread = found.replayed.bold[:, 0], found.spread_bold
    diagnostics: dict[str, float | str] = {
        "method": work.method,
        "note": "the figures describe how the drive was found; score a free run of a fresh network",
        "deconvolution_pcc": mean_pcc(found.rates.predicted, work.observed),
        **found.figures,
        "share_at_bounds": found.at_bounds,
        "warning": "none"
        if found.at_bounds < 0.02
        else f"{found.at_bounds:.0%} of the currents lie at the bounds of "
        "the drive: widen the bounds or lower the target",
    }
    return Fit(
        drive=work.drive(found.drive),
        spread=work.label(found.spread, "spread", _CURRENT, "time", "input"),
        inputs=units.names,
        target=work.target,
        forecast=work.label(predicted, "forecast", _BOLD, "time", "region"),
        forecast_spread=work.label(spread, "forecast_spread", _BOLD, "time", "region"),
        filter_mean=None,
        members_drive=work.label(found.drive[:, None], "members_drive", _CURRENT, "time", "member", "input"),
        initial=work.label(found.drive[:1], "initial", _CURRENT, "member", "input"),
        diagnostics=diagnostics | plain_settings(settings, work.extra),
        method=work.method,
        rate=work.label(found.rates.rate_hz, "rate", "Hz", "time", "input"),
    )


def _invert(work: _Work, settings: InverseSettings, working_point: Calibrated | None, journal: Journal) -> Inverted:
    ends, _ = sample_steps(len(work.observed), work.repetition_time_s, 1.0)
    return run_inverse(
        work.build,
        work.units,
        work.observed,
        region_projection(work.network.brain),
        work.repetition_time_s,
        ends,
        settings,
        journal,
        working_point=working_point,
        neurons_per_region=work.network.neurons / len(work.network.brain.regions),
    )
