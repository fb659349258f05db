"""The three ways of a fit: what each is given, and how its result becomes a labelled ``Fit``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.assimilate.answer import Calibrated
from twinbrain.assimilate.deconvolve import RATE_BOUNDS_HZ
from twinbrain.assimilate.dhmda import Filtered
from twinbrain.assimilate.diagnostics import diagnose, plain_settings
from twinbrain.assimilate.esmda import EsmdaSettings, Smoothed, run_esmda
from twinbrain.assimilate.inverse import InverseSettings, Inverted, mean_pcc, run_inverse, ticks
from twinbrain.assimilate.journal import Journal
from twinbrain.assimilate.linear import region_projection
from twinbrain.assimilate.result import Fit
from twinbrain.assimilate.settings import Checkpoint, Engine, Progress, Settings
from twinbrain.assimilate.transform import to_bounded
from twinbrain.assimilate.units import Units
from twinbrain.errors import InputError

if TYPE_CHECKING:
    from twinbrain.drive import Drive
    from twinbrain.network import Network

__all__ = ["Work", "describe", "esmda_fit", "filtered_fit", "inverse_fit", "make_engine"]

_CURRENT = "model units of current"
_BOLD = "fraction signal change"


def make_engine(network: Network, **options: Any) -> Engine:
    from twinbrain.simulate import Simulation

    engine: Engine = Simulation(network, **options)
    return engine


def describe(network: Network, inputs: tuple[str, ...], dt_ms: float) -> str:
    """Say what is simulated, so that a checkpoint of another network is not continued by mistake."""
    return json.dumps([network.describe(), network.brain.regions, inputs, dt_ms], sort_keys=True, default=str)


@dataclass(frozen=True, eq=False)
class Work:
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

    def build(self, wiring: int, noise: int, members: int = 1) -> Engine:
        return make_engine(
            self.network.scaled(seed=wiring), members=members, threads=self.threads, dt_ms=self.dt_ms,
            inputs=self.units.names, seed=noise,
        )  # fmt: skip

    def identity(self, *settings: Any) -> bytes:
        """Hash of everything that determines the result."""
        said = [self.method, describe(self.network, self.units.names, self.dt_ms), [repr(s) for s in settings]]
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


def filtered_fit(work: Work, filtered: Filtered, settings: Settings) -> Fit:
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


def inverse_fit(
    work: Work,
    settings: InverseSettings,
    working_point: Calibrated | None,
    *,
    progress: Progress | None,
    checkpoint: Checkpoint | None,
    every_s: float,
) -> Fit:
    rows, units = len(work.observed), work.units
    journal = Journal(
        work.identity(settings, _spoken(working_point)),
        ticks(rows, len(units.names), settings),
        progress=progress,
        checkpoint=checkpoint,
        every_s=every_s,
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
        "warning": _rates_at_bounds(found.rates.rate_hz) or _at_bounds(found.at_bounds),
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


def _invert(work: Work, settings: InverseSettings, working_point: Calibrated | None, journal: Journal) -> Inverted:
    return run_inverse(
        work.build,
        work.units,
        work.observed,
        region_projection(work.network.brain),
        work.repetition_time_s,
        settings,
        journal,
        working_point=working_point,
        neurons_per_region=work.network.neurons / len(work.network.brain.regions),
    )


def esmda_fit(
    work: Work,
    settings: EsmdaSettings,
    inverse: InverseSettings,
    prior: Fit | Drive | float | None,
    working_point: Calibrated | None,
    *,
    progress: Progress | None,
    checkpoint: Checkpoint | None,
    every_s: float,
) -> Fit:
    """Run the smoother, from the inverse or from a given prior."""
    rows, units = len(work.observed), work.units
    inverse = replace(inverse, corrections=0)
    mean = None if prior is None else _prior_mean(work, prior)
    said = "none" if mean is None else mean.tobytes().hex()
    journal = Journal(
        work.identity(replace(settings, min_members=None), inverse, _spoken(working_point), said),
        settings.steps * rows + (ticks(rows, len(units.names), inverse) if mean is None else 0),
        progress=progress,
        checkpoint=checkpoint,
        every_s=every_s,
    )
    figures: dict[str, float | str] = {"prior": "given"}
    if mean is None:
        begun = _invert(work, inverse, working_point, journal)
        mean, figures = begun.drive, {"prior": "inverse", **begun.figures}
    found = run_esmda(
        lambda wiring, noise: work.build(wiring, noise, settings.members),
        units,
        work.observed,
        mean,
        work.repetition_time_s,
        settings,
        journal,
    )
    return _smoothed_fit(work, found, settings, figures)


def _prior_mean(work: Work, prior: Fit | Drive | float) -> NDArray[np.float64]:
    shape = work.observed.shape
    if isinstance(prior, (int, float)):
        return np.full(shape, float(prior))
    drive = prior.drive if isinstance(prior, Fit) else prior
    if set(drive.inputs) != set(work.units.names) or drive.values.sizes["time"] != shape[0]:
        raise InputError(
            f"prior: found a drive of {len(drive.inputs)} inputs and {drive.values.sizes['time']} volumes, expected "
            f"one of the same {shape[1]} inputs and {shape[0]} volumes; fit it with the same inputs and volumes"
        )
    return np.asarray(drive.values.sel(input=list(work.units.names)).values, np.float64)


def _spoken(working_point: Calibrated | None) -> str:
    return "none" if working_point is None else json.dumps(working_point.to_dict(), sort_keys=True, default=str)


def _rates_at_bounds(rate_hz: NDArray[np.float64]) -> str:
    low, high = RATE_BOUNDS_HZ
    share = float(np.mean((rate_hz <= low) | (rate_hz >= high)))
    if share < 0.05:
        return ""
    return (
        f"{share:.0%} of the rates that the target asks for lie at {low:g} or {high:g} Hz, beyond which BOLD is not "
        "followed: change target_mean and target_scale, or check that the recording is of an asynchronous brain"
    )


def _at_bounds(share: float) -> str:
    if share < 0.02:
        return "none"
    return f"{share:.0%} of the currents lie at the bounds of the drive: widen the bounds or lower the target"


def _smoothed_fit(work: Work, found: Smoothed, settings: EsmdaSettings, figures: dict[str, float | str]) -> Fit:
    h, bold = found.drive, found.replayed.bold
    diagnostics: dict[str, float | str] = {
        "method": work.method,
        "note": "forecast figures are of the ensemble run before the last correction; score a free run",
        **figures,
        **found.figures,
        "share_at_bounds": found.at_bounds,
        "replaced_members": float(len(found.replaced)),
        "replaced": "; ".join(f"step {s}, volume {t}: member {m} by {d}" for s, t, m, d in found.replaced) or "none",
        "warning": _at_bounds(found.at_bounds),
    }
    return Fit(
        drive=work.drive(h.mean(axis=1)),
        spread=work.label(h.std(axis=1, ddof=1), "spread", _CURRENT, "time", "input"),
        inputs=work.units.names,
        target=work.target,
        forecast=work.label(bold.mean(axis=1), "forecast", _BOLD, "time", "region"),
        forecast_spread=work.label(bold.std(axis=1, ddof=1), "forecast_spread", _BOLD, "time", "region"),
        filter_mean=None,
        members_drive=work.label(h, "members_drive", _CURRENT, "time", "member", "input"),
        initial=work.label(h[0], "initial", _CURRENT, "member", "input"),
        diagnostics=diagnostics | plain_settings(settings, work.extra),
        method=work.method,
        rate=work.label(found.replayed.rate.mean(axis=1), "rate", "Hz", "time", "input"),
    )
