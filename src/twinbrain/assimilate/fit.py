"""``assimilate(network, bold, inputs)``: estimate the drives of the input regions from a person's BOLD."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.assimilate.dhmda import Filtered, run_filter
from twinbrain.assimilate.diagnostics import diagnose
from twinbrain.assimilate.settings import Checkpoint, Engine, Progress, Settings, engine_seed
from twinbrain.assimilate.target import observations, repetition_time
from twinbrain.assimilate.transform import to_bounded
from twinbrain.errors import InputError, nearest

if TYPE_CHECKING:
    from twinbrain.drive import Drive
    from twinbrain.network import Network

__all__ = ["METHODS", "Fit", "assimilate"]

METHODS = ("vw-dhmda",)
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
        Lag-smoothed ensemble mean of h(t), ready to drive a (larger) network.
    spread
        (time, input) standard deviation of h over the members after smoothing, model units of current.
    inputs
        Names of the driven regions.
    target
        (time, region) observations on the model's scale, fraction signal change; NaN where none.
    forecast, forecast_spread
        (time, region) mean and standard deviation over the members of the BOLD predicted inside the filter,
        one repetition time ahead. No evidence that the drives are right: score a free run for that.
    filter_mean
        (time, input) ensemble mean of h before the row's own observation was used: the published estimate,
        which is late by the delay of BOLD. For comparison only.
    members_drive
        (time, member, input) smoothed h of every member.
    initial
        (member, input) h during the warm-up.
    diagnostics
        Figures (those named ``forecast_...`` are of the in-filter forecast) and settings (``setting_...``).

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
    filter_mean: xr.DataArray
    members_drive: xr.DataArray
    initial: xr.DataArray
    diagnostics: dict[str, float | str]

    def __repr__(self) -> str:
        named = ", ".join(self.inputs[:3]) + (", ..." if len(self.inputs) > 3 else "")
        count, members = len(self.inputs), self.members_drive.sizes["member"]
        return (
            f"Fit({count} input{'' if count == 1 else 's'} ({named}), {self.target.sizes['time']} volumes of "
            f"{self.drive.repetition_time_s:g} s, {members} members)"
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
        """Return drive, spread, filter mean, target and forecasts as one Dataset with the diagnostics as attributes."""
        names = ("spread", "filter_mean", "forecast", "forecast_spread", "target")
        arrays = {"drive": self.drive.values} | {name: getattr(self, name) for name in names}
        attrs = {"repetition_time_s": self.drive.repetition_time_s, "shape": self.drive.shape, **self.diagnostics}
        return xr.Dataset(arrays, attrs=attrs)


def assimilate(
    network: Network,
    bold: xr.DataArray,
    inputs: Sequence[str],
    *,
    members: int = 30,
    neurons: int | None = None,
    first_volume: int = 0,
    volumes: int | None = None,
    method: str = "vw-dhmda",
    bounds: tuple[float, float] = (0.0, 0.12),
    random_walk_variance: float = 1.21,
    observation_variance: float = 1e-8,
    local_gain: float = 0.5,
    lag: int = 12,
    target_mean: float = 0.022,
    target_scale: float = 0.004,
    target_window: tuple[float, float] | None = None,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    warm_up: int = 6,
    update_balloon: bool = True,
    seed: int = 0,
    threads: int = 2,
    dt_ms: float = 1.0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_every: int = 10,
) -> Fit:
    """Estimate the current h(t) of the input regions so that the network's BOLD follows the recorded BOLD.

    An ensemble of copies of the network is run along the recording; see
    :func:`twinbrain.assimilate.dhmda.run_filter` for the cycle and its equations. The result drives a free
    run: ``simulate(network, duration, drive=fit.drive)``.

    Parameters
    ----------
    network
        The network to be driven.
    bold
        Recorded BOLD (time, region) in any unit, ``attrs["repetition_time_s"]`` in s. NaN = missing volume.
    inputs
        Names of the regions that get a drive; all must be in the brain and in ``bold``.
    members
        Size E of the ensemble, default 30. Memory and time grow in proportion.
    neurons
        Size of the members' network, ``network.scaled(neurons=neurons)``; default: the network as it is.
    first_volume, volumes
        The stretch of the recording used; default: all.
    method
        "vw-dhmda", the published filter with a fixed-lag smoother.
    bounds
        Open interval of h, model units of current, default (0, 0.12).
    random_walk_variance
        Q, variance per repetition time of the random step of the transformed drive, default 1.21.
    observation_variance
        R, (fraction signal change) squared, default 1e-8; must be > 0.
    local_gain
        rho, share of an input's own observation in its correction (the rest is the mean gain), default 0.5.
    lag
        Repetition times back that every observation corrects as well, default 12 (9 s or more is enough).
    target_mean, target_scale
        Model BOLD at z = 0 and per unit of z, defaults 0.022 and 0.004 (3 to 15 Hz; good for 20 inputs or
        more; 0.026 and 0.006 for about ten, 0.030 and 0.008 for two).
    target_window
        Published alternative, e.g. (0.02, 0.05): smallest and largest z of the inputs at the ends of it.
    band_hz
        Pass band of the target, default (0.01, 0.1) Hz; None = as recorded.
    warm_up
        Repetition times at the initial drives before the first volume, default 6.
    update_balloon
        Correct the Balloon states of the inputs together with their drives, default True, as published.
    seed
        Of the filter; the members' noise is derived from it and differs from that of a run with the same seed.
    threads
        For the simulation; the result does not depend on it.
    dt_ms
        Integration step, default 1 ms.
    progress
        Called as ``progress(cycles done, cycles in all)``.
    checkpoint, checkpoint_every
        Object with ``load() -> dict | None`` and ``save(dict)``, and the number of cycles between saves.

    Returns
    -------
    Fit
        Drive, spread, forecasts and diagnostics.

    Raises
    ------
    InputError
        If an input region, the BOLD or a setting cannot be used, or the ensemble diverges.

    References
    ----------
    Zhang, Chen, Feng, Lu: On a framework of data assimilation for hyperparameter estimation of spiking
    neuronal networks, Neural Networks 2024 (arXiv:2206.02986).

    Examples
    --------
    >>> assimilate.__kwdefaults__["members"], assimilate.__kwdefaults__["lag"]
    (30, 12)
    """
    if method not in METHODS:
        raise InputError(
            f"method: found '{method}', expected one of {', '.join(METHODS)}{nearest(method, METHODS)}; change it"
        )
    settings = Settings(
        members=members,
        bounds=(float(bounds[0]), float(bounds[1])),
        random_walk_variance=random_walk_variance,
        observation_variance=observation_variance,
        local_gain=local_gain,
        lag=lag,
        warm_up=warm_up,
        update_balloon=update_balloon,
        seed=seed,
    )
    regions = tuple(str(r) for r in network.brain.regions)
    chosen = _check_inputs(inputs, regions)
    target = observations(
        bold,
        first_volume=first_volume,
        volumes=volumes,
        band_hz=band_hz,
        mean=target_mean,
        scale=target_scale,
        window=target_window,
        required=chosen,
    )
    target = target.sel(region=[r for r in regions if r in target["region"].values])
    small = network if neurons is None else network.scaled(neurons=neurons)
    engine = _engine(small, members=members, threads=threads, dt_ms=dt_ms, inputs=chosen, seed=engine_seed(seed))
    filtered = run_filter(
        engine,
        target.sel(region=list(chosen)).values,
        network.brain.observation,
        [regions.index(r) for r in chosen],
        repetition_time(bold),
        settings,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        context=_describe(small, chosen, dt_ms),
    )
    extra: dict[str, Any] = {
        "method": method,
        "first_volume": first_volume,
        "target_mean": target_mean,
        "target_scale": target_scale,
        "target_window": "none" if target_window is None else f"{target_window[0]:g}-{target_window[1]:g}",
        "band_hz": "none" if band_hz is None else f"{band_hz[0]:g}-{band_hz[1]:g}",
        "neurons": "as given" if neurons is None else neurons,
        "dt_ms": dt_ms,
    }
    return _fit(filtered, target, regions, chosen, settings, extra)


def _engine(network: Network, **options: Any) -> Engine:
    from twinbrain.simulate import Simulation

    engine: Engine = Simulation(network, **options)
    return engine


def _describe(network: Network, inputs: tuple[str, ...], dt_ms: float) -> str:
    """Say what is simulated, so that a checkpoint of another network is not continued by mistake."""
    return json.dumps([network.describe(), network.brain.regions, inputs, dt_ms], sort_keys=True, default=str)


def _check_inputs(inputs: Sequence[str], regions: Sequence[str]) -> tuple[str, ...]:
    chosen = (inputs,) if isinstance(inputs, str) else tuple(str(r) for r in inputs)
    if not chosen:
        raise InputError("inputs: found none, expected at least one region name; give e.g. inputs=['Thalamus_L']")
    for region in chosen:
        if region not in regions:
            raise InputError(
                f"inputs: no region is called '{region}' among the {len(regions)} regions of the brain"
                f"{nearest(region, regions)}; correct the name"
            )
        if chosen.count(region) > 1:
            raise InputError(f"inputs: '{region}' appears {chosen.count(region)} times, expected once; remove it")
    return chosen


def _fit(
    filtered: Filtered,
    target: xr.DataArray,
    regions: tuple[str, ...],
    inputs: tuple[str, ...],
    settings: Settings,
    extra: dict[str, Any],
) -> Fit:
    from twinbrain.drive import Drive

    tr = float(target.attrs["repetition_time_s"])
    time = target["time"].values
    over_inputs = {"time": time, "input": list(inputs)}
    over_regions = {"time": time, "region": list(regions)}

    def labelled(values: NDArray[np.float64], coords: dict[str, Any], units: str, name: str) -> xr.DataArray:
        attrs = {"units": units, "repetition_time_s": tr}
        return xr.DataArray(values, dims=tuple(coords), coords=coords, name=name, attrs=attrs)

    h = to_bounded(filtered.x, settings.bounds)
    member = np.arange(settings.members)
    forecast = labelled(filtered.forecast, over_regions, _BOLD, "forecast")
    forecast_spread = labelled(filtered.forecast_spread, over_regions, _BOLD, "forecast_spread")
    return Fit(
        drive=Drive(values=labelled(h.mean(axis=1), over_inputs, _CURRENT, "drive"), repetition_time_s=tr),
        spread=labelled(h.std(axis=1, ddof=1), over_inputs, _CURRENT, "spread"),
        inputs=inputs,
        target=target,
        forecast=forecast,
        forecast_spread=forecast_spread,
        filter_mean=labelled(filtered.filter_mean, over_inputs, _CURRENT, "filter_mean"),
        members_drive=labelled(h, {"time": time, "member": member, "input": list(inputs)}, _CURRENT, "members_drive"),
        initial=labelled(filtered.initial, {"member": member, "input": list(inputs)}, _CURRENT, "initial"),
        diagnostics=diagnose(filtered, target, forecast, forecast_spread, inputs, settings, extra),
    )
