r"""Private slow variability: what each region does by itself, so that a large twin is more than its inputs.

A noiseless or very large network with few inputs is a weighted sum of them everywhere, and all its correlations are too
high; small networks escape by accident, through the noise of their size. Real regions have a slow life of their own.
Here every region without an input gets a current that fluctuates over seconds (Ornstein-Uhlenbeck, independent between
regions), as further columns of the Drive. Its amplitude follows from the recording. With u_i the share of region i's
variance that the inputs do not explain, v_i the variance of BOLD that they cause there, S = (1 - k C_nn)^-1 the
propagation between regions without input and c^2 the variance of band-passed BOLD for 1 Hz^2 of fluctuating rate,

.. math:: c^2 \sum_j S_{ij}^2 D_j = v_i \frac{u_i}{1 - u_i}, \qquad D_j \ge 0,

is solved by non-negative least squares for D (Hz^2); the current is ``h_j(t) = a sqrt(D_j) OU(t)`` with a the slope of
the working point. What the fluctuations would send back to the inputs, ``k C_in,n S h``, is taken from the inputs'
own currents, so that the inputs still do what they were fitted to do.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.assimilate.linear import propagate, region_projection
from twinbrain.brain import Brain
from twinbrain.drive import Drive
from twinbrain.errors import InputError, nearest
from twinbrain.observe import Balloon, advance_balloon, bold_signal, resting_state, steady_state

__all__ = ["PRIVATE_KINDS", "PrivateVariability", "private_variability"]

Float = NDArray[np.float64]

PRIVATE_KINDS = ("off", "ou")
"""Names accepted by ``private_variability(kind=...)``."""

_STEP_S = 0.004  # of the Balloon model here: rates change once per repetition time
_KERNEL_S = 40.0


@dataclass(frozen=True, eq=False)
class PrivateVariability:
    """Result of :func:`private_variability`.

    Attributes
    ----------
    drive
        The drive of the inputs with one more column for each region without input (identical to it if ``kind`` is
        "off").
    amplitude
        (region) standard deviation of each region's own fluctuation, Hz; 0 for inputs.
    share
        (region) predicted share of the variance of band-passed BOLD that the inputs do not cause.
    kind, time_constant_s
        As asked for.

    Examples
    --------
    >>> PrivateVariability.__dataclass_params__.frozen
    True
    """

    drive: Drive
    amplitude: xr.DataArray
    share: xr.DataArray
    kind: str
    time_constant_s: float

    def __repr__(self) -> str:
        own = self.amplitude.values[self.amplitude.values > 0]
        mean = f", mean amplitude {own.mean():.2g} Hz" if len(own) else ""
        return f"PrivateVariability('{self.kind}', {len(own)} regions{mean}, {self.time_constant_s:g} s)"


def private_variability(
    brain: Brain,
    drive: Drive,
    target: xr.DataArray,
    explained: xr.DataArray,
    *,
    loop_gain: float,
    slope: float,
    rate_hz: float = 4.0,
    kind: str = "ou",
    time_constant_s: float = 5.0,
    ceiling: float = 0.9,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    balloon: Balloon | None = None,
    seed: int = 0,
) -> PrivateVariability:
    """Add slow fluctuations of their own to the regions without input.

    Parameters
    ----------
    brain
        The Brain of the twin (with effective connectivity, if that is used).
    drive
        Fitted currents of the inputs.
    target
        (time, region) BOLD the drive was fitted to, fraction signal change (``Fit.target``); its inputs give the
        variance v that they cause elsewhere.
    explained
        (region) share of each region's recorded variance that the inputs explain, from volumes *not* used for the
        score: :func:`twinbrain.assimilate.effective.explained_variance`, or ``EffectiveConnectivity.explained``.
    loop_gain, slope
        k and a (current per Hz) of the working point.
    rate_hz
        Spontaneous rate of the working point, Hz. Default 4.
    kind
        "ou" (default) or "off".
    time_constant_s
        Of the fluctuations. Default 5 s.
    ceiling
        Largest share u of variance that is taken as unexplained. Default 0.9: a region that the inputs do not
        explain at all would need infinite amplitude.
    band_hz
        Band in which the shares hold, Hz; None for all frequencies.
    balloon
        Constants of the hemodynamics.
    seed
        Key of the fluctuations; each region's depend on the seed and its name only.

    Returns
    -------
    PrivateVariability

    Raises
    ------
    InputError
        If a name, number or label cannot be used.

    Examples
    --------
    >>> import twinbrain as tb
    >>> brain = tb.Brain.from_subject(tb.Subject.from_arrays(1.0 - np.eye(3), list("abc")))
    >>> target = xr.DataArray(0.026 + 0.006 * np.random.default_rng(1).normal(size=(100, 1)), dims=("time", "region"),
    ...                       coords={"region": ["a"]})
    >>> explained = xr.DataArray([1.0, 0.5, 0.2], dims="region", coords={"region": list("abc")})
    >>> drive = Drive.constant({"a": 0.03}, 72.0, 0.72)
    >>> found = private_variability(brain, drive, target, explained, loop_gain=0.8, slope=0.008)
    >>> found.drive.inputs, bool(found.amplitude.sel(region="c") > found.amplitude.sel(region="b") > 0)
    (('a', 'b', 'c'), True)
    """
    regions = list(brain.regions)
    _check(kind, loop_gain, slope, rate_hz, time_constant_s, ceiling, seed)
    inputs = list(drive.inputs)
    for name in inputs:
        if name not in regions:
            raise InputError(f"drive: '{name}' is no region of this brain{nearest(name, regions)}; correct the name")
        if name not in target["region"].values:
            raise InputError(f"target: input '{name}' has no series, expected one for each input; give Fit.target")
    missing = sorted(set(regions) - set(explained["region"].values.tolist()))
    if missing:
        raise InputError(f"explained: region '{missing[0]}' is missing, expected a share for every region; add it")
    zero = xr.DataArray(np.zeros(len(regions)), dims="region", coords={"region": regions})
    driven = np.array([regions.index(name) for name in inputs], np.int64)
    free = np.setdiff1d(np.arange(len(regions)), driven)
    if kind == "off" or not len(free):
        return PrivateVariability(
            drive, zero.assign_attrs(units="Hz"), zero.assign_attrs(units="1"), kind, time_constant_s
        )
    C = region_projection(brain)
    through = np.linalg.inv(np.eye(len(free)) - loop_gain * C[np.ix_(free, free)])
    series = target.sel(region=inputs).transpose("time", "region").to_numpy()
    series = series[np.isfinite(series).all(axis=1)]
    if len(series) < 10:
        raise InputError(f"target: found {len(series)} volumes with all inputs, expected at least 10; give Fit.target")
    caused, free_rate = _caused(series, propagate(C, loop_gain, driven), rate_hz, balloon)
    unexplained = np.clip(1.0 - explained.sel(region=[regions[j] for j in free]).to_numpy(), 0.0, ceiling)
    wanted = caused * unexplained / (1.0 - unexplained)
    per_hz = _bold_variance(free_rate, drive.repetition_time_s, time_constant_s, band_hz, balloon)
    spread: Float = np.asarray(per_hz * through**2, np.float64)
    own = _amplitudes(spread, wanted)
    made = spread @ own**2
    share, amplitude = zero.copy(), zero.copy()
    share.values[free] = made / np.maximum(made + caused, 1e-300)
    amplitude.values[free] = own
    names = [regions[j] for j in free]
    currents = slope * own * _fluctuations(names, drive, time_constant_s, seed)
    back = currents @ (loop_gain * C[np.ix_(driven, free)] @ through).T
    values = xr.DataArray(
        np.concatenate([drive.values.values - back, currents], axis=1),
        dims=("time", "input"),
        coords={"time": drive.values["time"].values, "input": inputs + names},
        name=drive.values.name,
        attrs=dict(drive.values.attrs),
    )
    return PrivateVariability(
        replace(drive, values=values),
        amplitude.assign_attrs(units="Hz"),
        share.assign_attrs(units="1"),
        kind,
        time_constant_s,
    )


def _caused(series: Float, W: Float, rate_hz: float, balloon: Balloon | None) -> tuple[Float, float]:
    """Return the variance of BOLD that the inputs cause in every other region, and the mean rate there.

    BOLD gains less per Hz at high rates: the inputs are at theirs, the others near the spontaneous rate.
    """
    level = series.mean(axis=0)
    rates = np.linspace(0.1, 100.0, 4000)
    input_rate = np.interp(level, steady_state(rates, balloon), rates)
    free_rate = rate_hz + W @ (input_rate - rate_hz)

    def gain(rate: Float) -> Float:
        return np.asarray((steady_state(rate + 0.1, balloon) - steady_state(rate - 0.1, balloon)) / 0.2)

    as_rates = (series - level) / gain(input_rate)
    caused = (as_rates @ W.T).var(axis=0) * gain(np.maximum(free_rate, 0.5)) ** 2
    return np.maximum(caused, 1e-300), float(np.clip(free_rate.mean(), 0.5, 100.0))


def _bold_variance(
    rate_hz: float, tr: float, tau: float, band_hz: tuple[float, float] | None, balloon: Balloon | None
) -> float:
    """Return the variance of band-passed BOLD for an Ornstein-Uhlenbeck rate of variance 1 Hz^2 around ``rate_hz``."""
    n = max(256, math.ceil(_KERNEL_S / tr))
    count = max(1, round(tr / _STEP_S))
    rates = np.full((n, 2), rate_hz)
    state = resting_state(2)
    dt = tr / count
    advance_balloon(state, np.full((round(60.0 / dt), 2), rate_hz / 1000.0), dt, 1.0, balloon)
    rates[0, 1] += 1.0  # one repetition time with 1 Hz more
    response = np.empty(n)
    for t in range(n):
        advance_balloon(state, np.tile(rates[t] / 1000.0, (count, 1)), dt, 1.0, balloon)
        y = bold_signal(state, balloon)
        response[t] = y[1] - y[0]
    size = 8 * n
    power = np.abs(np.fft.fft(response, size)) ** 2
    frequency = np.fft.fftfreq(size, tr)
    phi = math.exp(-tr / tau)
    spectrum = (1.0 - phi**2) / np.abs(1.0 - phi * np.exp(-2j * np.pi * frequency * tr)) ** 2
    if band_hz is not None:
        from scipy.signal import butter, sosfreqz

        low, high = band_hz
        sections = butter(2, [low, high], btype="bandpass", fs=1.0 / tr, output="sos")
        _, gain = sosfreqz(sections, worN=np.abs(frequency), fs=1.0 / tr)
        power = power * np.abs(gain) ** 4  # forwards and backwards
    return float(np.mean(power * spectrum))


def _amplitudes(spread: Float, wanted: Float) -> Float:
    """Solve spread @ D = wanted for D >= 0; rows are weighted so that each region counts alike."""
    from scipy.optimize import nnls

    scale = np.maximum(wanted, wanted[wanted > 0].min(initial=1.0) if (wanted > 0).any() else 1.0)
    solved, _ = nnls(spread / scale[:, None], wanted / scale)
    return np.sqrt(np.asarray(solved, np.float64))


def _fluctuations(names: list[str], drive: Drive, tau: float, seed: int) -> Float:
    """Stationary Ornstein-Uhlenbeck series of variance 1 (time, region), sampled once per repetition time."""
    rows = drive.values.sizes["time"]
    phi = math.exp(-drive.repetition_time_s / tau)
    series = np.empty((rows, len(names)))
    for j, name in enumerate(names):
        words = np.frombuffer(hashlib.sha256(f"private {name}".encode()).digest()[:16], dtype="<u4").tolist()
        noise = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words]))).standard_normal(rows)
        value = noise[0]
        for t in range(rows):
            value = noise[0] if t == 0 else phi * value + math.sqrt(1.0 - phi**2) * noise[t]
            series[t, j] = value
    return series


def _check(kind: str, k: float, slope: float, rate: float, tau: float, ceiling: float, seed: int) -> None:
    if kind not in PRIVATE_KINDS:
        raise InputError(
            f"kind: found '{kind}', expected one of {', '.join(PRIVATE_KINDS)}{nearest(kind, PRIVATE_KINDS)}; change it"
        )
    if not 0 <= k < 1:
        raise InputError(f"loop_gain: found {k:g}, expected 0 or more and below 1; give that of the working point")
    for name, value in (("slope", slope), ("rate_hz", rate), ("time_constant_s", tau)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: found {value:g}, expected a number above 0; give that of the working point")
    if not 0 < ceiling < 1:
        raise InputError(f"ceiling: found {ceiling:g}, expected a share between 0 and 1, both excluded; 0.9 is usual")
    if isinstance(seed, bool) or int(seed) != seed or seed < 0:
        raise InputError(f"seed: found {seed!r}, expected a whole number from 0; give for example seed=0")
