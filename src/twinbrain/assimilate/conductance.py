r"""Conductances and background currents of regions from BOLD, with a plain word on what BOLD can say about them.

Constant parameters of all regions are estimated together by an ensemble smoother. What is observed of each region is
a few summaries of its whole series: its level, the level of what arrives from its partners, and its slope against it.
Around a working point the level of a region is what arrives times the loop gain, plus its own doing, so the pair
separates a region's own parameter from those of its partners (:mod:`twinbrain.assimilate.linear`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twinbrain.assimilate import methods
from twinbrain.assimilate.ensemble import stochastic_update
from twinbrain.assimilate.esmda import resampled
from twinbrain.assimilate.journal import Journal
from twinbrain.assimilate.linear import region_projection
from twinbrain.assimilate.replay import least_members, replay
from twinbrain.assimilate.settings import Checkpoint, Progress, random_stream
from twinbrain.assimilate.target import observations, repetition_time
from twinbrain.assimilate.units import Units, input_units
from twinbrain.errors import InputError, nearest

if TYPE_CHECKING:
    from twinbrain.drive import Drive
    from twinbrain.network import Network
    from twinbrain.simulate import Simulation

__all__ = ["ParameterFit", "fit_parameters"]

Array = NDArray[np.float64]

_PRIORS = {"g_ampa": 0.2, "g_nmda": 0.2, "g_gaba_a": 0.2, "g_gaba_b": 0.2, "background_mean": 0.008}
_LARGEST = 1.0  # |log factor| at most: a third to three times the value
_WARM_UP_S, _DISCARD_S = 4.0, 8.0
_CLEAR = 0.8  # share of the spread that chance leaves, below which a parameter counts as identified
_BOUND = 0.9  # correlation from which two parameters of a region are one
_TRADES = 0.5  # correlation from which a trade between two parameters is worth a word
_STREAM = 2**64 - 201


@dataclass(frozen=True, eq=False)
class ParameterFit:
    """Parameters of regions estimated from BOLD.

    Attributes
    ----------
    values
        (parameter, region) posterior mean: a factor on the network's own value for conductances, an added current
        (model units) for ``background_mean``.
    spread
        (parameter, region) posterior standard deviation; of the logarithm of the factor for conductances.
    members
        (parameter, member, region), on the scale of ``values``.
    table
        Index (parameter, region); columns ``value``, ``sd``, ``prior_sd``, ``ratio`` (posterior over prior spread),
        ``by_chance`` (the same ratio if the summaries had nothing to do with the parameter), ``correlation`` (the
        largest with another parameter of this region), ``identified`` and ``verdict`` in words.
    diagnostics
        Figures and settings.

    Examples
    --------
    >>> ParameterFit.__dataclass_params__.frozen
    True
    """

    values: xr.DataArray
    spread: xr.DataArray
    members: xr.DataArray
    table: pd.DataFrame
    diagnostics: dict[str, float | str]

    def __repr__(self) -> str:
        share = self.table.groupby("parameter", sort=False)["identified"].mean()
        said = ", ".join(f"{name} identified in {value:.0%} of regions" for name, value in share.items())
        return f"ParameterFit({self.values.sizes['region']} regions: {said})"

    def _repr_html_(self) -> str:
        return str(self.table.to_html())

    def apply(self, simulation: Simulation) -> None:
        """Give a simulation these parameters; make it with ``tunable`` naming the conductances.

        Raises
        ------
        InputError
            If its Brain has other regions, or a conductance is not tunable there.
        """
        brain = simulation.network.brain
        if tuple(brain.regions) != tuple(map(str, self.values["region"].values)):
            raise InputError(
                f"apply: found a Brain of {len(brain.regions)} other regions, expected the "
                f"{self.values.sizes['region']} of the fit; use a network of the same person"
            )
        _set(simulation, [str(p) for p in self.values["parameter"].values], self.values.values[:, None])


def fit_parameters(
    network: Network,
    bold: xr.DataArray,
    parameters: Sequence[str] | Mapping[str, float] = ("g_ampa",),
    *,
    drive: Drive | None = None,
    members: int = 48,
    steps: int = 3,
    neurons: int | None = None,
    gamma_shape: float | None = None,
    standardise: bool = True,
    first_volume: int = 0,
    volumes: int | None = None,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    target_mean: float = 0.022,
    target_scale: float = 0.004,
    min_members: int | None = None,
    seed: int = 0,
    threads: int = 1,
    dt_ms: float = 1.0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 300.0,
) -> ParameterFit:
    r"""Estimate constant conductances or background currents of all regions from BOLD.

    Parameters of region i are corrected ``steps`` times, with the error variance times ``steps``, by the summaries
    :math:`\bar y_i`, :math:`\overline{(C y)_i}` and, with several parameters, the slope of :math:`y_i(t)` against
    :math:`(C y)_i(t)`. The error of a summary is what two halves of the recording disagree by.

    Parameters
    ----------
    network
        At its working point; every factor is of its values.
    bold
        (time, region), all regions of the Brain; NaN = missing.
    parameters
        Names, or names with the standard deviation of the prior: ``g_ampa``, ``g_nmda``, ``g_gaba_a``, ``g_gaba_b``
        (of the logarithm of the factor, 0.2) and ``background_mean`` (model units of current, 0.008). A factor
        holds for all neurons of a region.
    drive
        Currents into inputs while the members run, for example that of a fit; as many volumes as are used.
    members, steps
        Size of the ensemble and number of corrections.
    neurons
        Size of the members' network; default: the network as it is.
    gamma_shape
        Spread the conductances over the neurons of a region by a Gamma factor of this shape and mean 1.
    standardise, first_volume, volumes, band_hz, target_mean, target_scale
        As in :func:`twinbrain.assimilate`; standardised BOLD asks all regions for the same level.
    min_members, seed, threads, dt_ms, progress, checkpoint, checkpoint_every_s
        As in :func:`twinbrain.assimilate`.

    Returns
    -------
    ParameterFit
        Estimates, and for each whether BOLD identifies it.

    Raises
    ------
    InputError
        If a parameter is unknown or 0 in this network, regions have no BOLD, or too many members are lost.

    References
    ----------
    Emerick, Reynolds: Ensemble smoother with multiple data assimilation. Computers & Geosciences 55 (2013) 3-15.
    Conductances of all regions from BOLD: Lu et al. 2024 Natl Sci Rev 11:nwae080.

    Examples
    --------
    >>> fit_parameters.__kwdefaults__["members"], fit_parameters.__kwdefaults__["steps"]
    (48, 3)
    """
    from dataclasses import replace

    if neurons is not None:
        network = network.scaled(neurons=neurons)
    priors = _priors(parameters, network)
    if members < 8 or steps < 1:
        raise InputError(f"members, steps: found {members} and {steps}, expected at least 8 and 1; give more")
    if gamma_shape is not None:
        network = replace(network, heterogeneity={n: gamma_shape for n in priors if n != "background_mean"})
    brain = network.brain
    regions = [str(r) for r in brain.regions]
    target = observations(
        bold, first_volume=first_volume, volumes=volumes, band_hz=band_hz, mean=target_mean, scale=target_scale,
        standardise=standardise, required=regions,
    ).sel(region=regions)  # fmt: skip
    observed, tr = target.values, repetition_time(bold)
    units, h = _driven(network, drive, len(observed), members)
    names, projection = list(priors), region_projection(brain)
    rows = _Summary(projection, math.ceil(_DISCARD_S / tr), len(names) > 1)
    wanted, error = rows.of_recording(observed)
    said = [network.describe(), priors, members, steps, seed, dt_ms, units.names, observed.shape, standardise]
    digest = hashlib.sha256(json.dumps(said, default=str).encode() + observed.tobytes() + h.tobytes()).digest()
    journal = Journal(
        digest, steps * len(observed), progress=progress, checkpoint=checkpoint, every_s=checkpoint_every_s
    )
    rng = random_stream(seed, _STREAM)
    sd = np.array(list(priors.values()))[:, None, None]
    theta = rng.standard_normal((len(names), members, len(regions)))
    theta = sd * (theta - theta.mean(axis=1, keepdims=True)) / theta.std(axis=1, ddof=1, keepdims=True)
    by_chance = theta.copy()
    least = least_members(members, min_members)
    lost: list[tuple[int, int, int, int]] = []
    for step in range(1, steps + 1):
        rng = random_stream(seed, _STREAM - step)
        wiring, noise_seed = int(rng.integers(2**62)), int(rng.integers(2**62))
        piece = f"ensemble run {step}"
        engine = None
        if journal.finished(piece) is None:
            tunable = tuple(n for n in names if n != "background_mean")
            engine = methods.make_engine(
                network.scaled(seed=wiring), members=members, threads=threads, dt_ms=dt_ms, inputs=units.names,
                seed=noise_seed, tunable=tunable,
            )  # fmt: skip
            _set(engine, names, _plain(names, theta))
        run = replay(engine, units, h, tr, math.ceil(_WARM_UP_S / tr), journal, piece, least)
        stands, events = resampled(run, least, rng, step)
        lost += events
        theta, by_chance = theta[:, stands], by_chance[:, stands]
        found = rows.of_members(np.where(np.isfinite(observed)[:, None], run.bold[:, stands], np.nan))
        shuffled = found[rng.permutation(members)]
        noise = rng.standard_normal(found.shape)
        for i in range(len(regions)):
            for values, seen in ((theta, found), (by_chance, shuffled)):
                updated = stochastic_update(
                    values[:, :, i].T, seen[:, i], wanted[i] if seen is found else seen[:, i].mean(axis=0),
                    steps * error, noise[:, i],
                )  # fmt: skip
                values[:, :, i] = updated.T
        limit = np.where(np.array(names) == "background_mean", 0.1, _LARGEST)[:, None, None]
        theta = np.clip(theta, -limit, limit)
    settings: dict[str, float | str] = {
        "setting_members": float(members), "setting_steps": float(steps), "setting_seed": float(seed),
        "setting_gamma_shape": "none" if gamma_shape is None else gamma_shape,
        "replaced_members": float(len(lost)),
        "inputs": ", ".join(units.names) or "none",
    }  # fmt: skip
    return _result(names, theta, by_chance, priors, regions, settings)


def _priors(parameters: Sequence[str] | Mapping[str, float], network: Network) -> dict[str, float]:
    given = {parameters: None} if isinstance(parameters, str) else dict.fromkeys(parameters)
    if not given:
        raise InputError(f"parameters: found none, expected at least one of {', '.join(_PRIORS)}")
    result = {}
    for name in given:
        if name not in _PRIORS:
            raise InputError(
                f"parameters: '{name}' cannot be fitted{nearest(name, _PRIORS)}; known are {', '.join(_PRIORS)}"
            )
        if name != "background_mean" and not network.parameter(name).any():
            raise InputError(
                f"parameters: '{name}' is 0 everywhere in this network, which no factor changes; leave it out"
            )
        sd = float(parameters[name]) if isinstance(parameters, Mapping) else _PRIORS[name]
        if not 0 < sd < 1:
            raise InputError(f"parameters: the prior of '{name}' has the standard deviation {sd:g}, expected 0 to 1")
        result[name] = sd
    return result


def _driven(network: Network, drive: Drive | None, rows: int, members: int) -> tuple[Units, Array]:
    observation = csr_array(network.brain.observation)
    if drive is None:
        none = csr_array((0, observation.shape[1]), dtype=np.float64)
        return Units((), np.zeros(0, np.int64), none, none, (), observation), np.zeros((rows, members, 0))
    if drive.values.sizes["time"] != rows:
        raise InputError(
            f"drive: found {drive.values.sizes['time']} volumes, expected the {rows} that are used; cut both alike"
        )
    values = np.asarray(drive.values.values, np.float64)
    return input_units(network.brain, drive.inputs), np.repeat(values[:, None], members, axis=1)


def _plain(names: Sequence[str], theta: Array) -> Array:
    """From the scale of the estimation to factors and currents."""
    return np.stack([t if n == "background_mean" else np.exp(t) for n, t in zip(names, theta, strict=True)])


def _set(engine: Any, names: Sequence[str], values: Array) -> None:
    """Give members (parameter, member, region) their values; one member's serve all."""
    index = np.asarray(engine.network.brain.region_index)
    members = len(engine.members)
    full = np.broadcast_to(values, (len(names), members, values.shape[2]))[:, :, index]
    conductances = {n: np.array(full[k]) for k, n in enumerate(names) if n != "background_mean"}
    if conductances:
        engine.set_conductances(conductances)
    if "background_mean" in names:
        first = engine.network.anatomy.voxel_population[:-1]
        own = engine.network.parameter("background_mean")[first]
        engine.set_background(own + full[list(names).index("background_mean")])


@dataclass(frozen=True)
class _Summary:
    """Summaries of series (time, ..., region) -> (..., region, summary)."""

    projection: Array
    discard: int
    slopes: bool

    def of_members(self, bold: Array) -> Array:
        y = bold[self.discard :]
        arriving = np.where(np.isfinite(y), y, np.nanmean(y, axis=0)) @ self.projection.T
        level, partners = np.nanmean(y, axis=0), arriving.mean(axis=0)
        found = [level, partners]
        if self.slopes:
            dy, da = np.nan_to_num(y - level), arriving - partners
            found.append((dy * da).sum(axis=0) / np.maximum((da * da).sum(axis=0), 1e-12))
        return np.stack(found, axis=-1)

    def of_recording(self, observed: Array) -> tuple[Array, Array]:
        """Summaries (region, summary) and the variance of each (summary,) from the two halves."""
        half = (len(observed) - self.discard) // 2
        if half < 5:
            raise InputError(
                f"bold: {len(observed)} volumes are too few for summaries of two halves, expected at least "
                f"{self.discard + 10}; give more volumes"
            )
        first = self.of_members(observed[: self.discard + half])
        second = self.of_members(observed[half:])
        return self.of_members(observed), np.maximum(((first - second) ** 2).mean(axis=0) / 4, 1e-12)


def _result(
    names: list[str],
    theta: Array,
    by_chance: Array,
    priors: Mapping[str, float],
    regions: list[str],
    settings: dict[str, float | str],
) -> ParameterFit:
    sd, chance = theta.std(axis=1, ddof=1), by_chance.std(axis=1, ddof=1)
    rows = []
    for k, name in enumerate(names):
        for i, region in enumerate(regions):
            others = [(_correlation(theta[k, :, i], theta[j, :, i]), other) for j, other in enumerate(names) if j != k]
            strongest, other = max(others, key=lambda c: abs(c[0]), default=(0.0, ""))
            ratio, free = sd[k, i] / priors[name], chance[k, i] / priors[name]
            alone = abs(strongest) < _BOUND
            settled = bool(ratio < _CLEAR * free and alone)
            verdict = "identified"
            if not alone:
                verdict = f"unidentifiable: only its sum with {other} is (correlation {strongest:.2f})"
            elif not settled:
                verdict = "unidentifiable: BOLD leaves it about as open as it was before"
                if abs(strongest) > _TRADES:
                    verdict += f", for it trades against {other} (correlation {strongest:.2f})"
            rows.append((name, region, ratio, free, strongest, settled, verdict))
    coords = {"parameter": names, "region": regions}
    plain = _plain(names, theta)
    label = {"units": "factor of the network's value (background_mean: added model units of current)"}
    columns = ["parameter", "region", "ratio", "by_chance", "correlation", "identified", "verdict"]
    table = pd.DataFrame(rows, columns=columns).set_index(["parameter", "region"])
    middle = _plain(names, theta.mean(axis=1, keepdims=True))[:, 0]
    table.insert(0, "value", middle.ravel())
    table.insert(1, "sd", sd.ravel())
    table.insert(2, "prior_sd", np.repeat(list(priors.values()), len(regions)))
    clear = np.array([row[5] for row in rows], dtype=np.float64).reshape(len(names), len(regions))
    shares = {f"identified_{n}": float(clear[k].mean()) for k, n in enumerate(names)}
    return ParameterFit(
        values=xr.DataArray(middle, dims=("parameter", "region"), coords=coords, attrs=label),
        spread=xr.DataArray(sd, dims=("parameter", "region"), coords=coords, attrs={"units": "see values"}),
        members=xr.DataArray(plain, dims=("parameter", "member", "region"), coords=coords, attrs=label),
        table=table,
        diagnostics={**shares, **settings},
    )


def _correlation(a: Array, b: Array) -> float:
    power = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / power) if power > 0 else 0.0
