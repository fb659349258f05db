"""Phase synchronisation: how far the slow rhythms of all regions rise and fall together, moment by moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse._measures import Series, count, jackknife, read_series, row, table, table_dict
from twinbrain.analyse._numeric import Floats, generator
from twinbrain.analyse.filtering import band_pass
from twinbrain.errors import InputError

__all__ = [
    "Synchrony",
    "order_parameter",
    "phase_connectivity_dynamics",
    "phase_locking",
    "phases",
    "synchronisation_entropy",
    "synchrony",
]

Complexes = npt.NDArray[np.complex128]

_SURROGATE = 11  # second half of the random key; the draw and the block follow in higher bits
_BLOCK = 1024  # series filtered at a time: bounds memory, and is fixed so that surrogates do not depend on it
_PAIRS = 500  # more series than this have their pairs compared only when asked
_PHASE_STEP_S = 2.0
_JACKKNIFE_S = 60.0
_MIN_VOLUMES = 40


@dataclass(frozen=True, eq=False)
class Synchrony:
    """Result of `synchrony`.

    Attributes
    ----------
    table
        Index ``measure``; columns ``value``, ``low``, ``high`` (95 % interval), ``null_mean``, ``null_sd``,
        ``p_value``, ``note``.
    order
        Kuramoto order parameter r(t), (time,), 0 to 1.
    distribution
        Share of volumes with r in each of the bins of [0, 1], (r,), r at the centre of the bin.
    locking
        Phase-locking values (region, partner); None if the pairs were not asked for.
    phase_fcd
        Likeness of the phase patterns of every two moments, (time, other_time), -1 to 1.
    band_hz
        Corners of the band-pass filter, Hz.
    nulls
        Number of surrogates.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(300, 4))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(300) * 0.8, "region": list("ABCD")})
    >>> synchrony(bold, nulls=5).to_dict()["nulls"]
    5
    """

    table: pd.DataFrame
    order: xr.DataArray
    distribution: xr.DataArray
    locking: xr.DataArray | None
    phase_fcd: xr.DataArray
    band_hz: tuple[float, float]
    nulls: int

    def to_dict(self) -> dict[str, object]:
        """Figures ready for JSON; what is not defined is None."""
        return {"band_hz": list(self.band_hz), "nulls": self.nulls, "measures": table_dict(self.table)}


def phases(bold: xr.DataArray, *, band_hz: tuple[float, float] = (0.01, 0.1), trim_s: float = 10.0) -> xr.DataArray:
    """Phase of the slow rhythm of each region: the angle of the analytic signal after band-pass filtering.

    ``theta(t) = arg(x(t) + i H[x](t))`` with H the Hilbert transform of the band-passed series (see `band_pass`).

    Parameters
    ----------
    bold
        (time, region) or (time, voxel), any units, ``time`` in s, evenly spaced; at least 40 volumes.
    band_hz
        Band, Hz. Default 0.01-0.1 Hz. A phase is meaningful for a narrow band only; say which you used.
    trim_s
        Time left out at both ends, where filter and transform see the edge, s. Default 10.

    Returns
    -------
    DataArray like ``bold`` without its ends, rad, -pi to pi.

    Raises
    ------
    InputError
        If the series is too short, not finite, does not vary, or the band does not fit the repetition time.

    References
    ----------
    Gabor (1946), J. IEE 93:429; Glerean et al. (2012), Brain Connectivity 2:91 (BOLD).

    Examples
    --------
    >>> t = np.arange(500) * 0.72
    >>> x = np.cos(2 * np.pi * 0.04 * t[:, None] - np.array([0.0, 1.0]))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": t, "region": ["A", "B"]})
    >>> theta = phases(bold).sel(time=slice(100, 220))
    >>> bool(np.allclose(np.exp(1j * (theta.sel(region="A") - theta.sel(region="B"))), np.exp(1j), atol=0.02))
    True
    """
    series = read_series(bold, "synchrony", volumes=_MIN_VOLUMES)
    kept = _kept(series, trim_s)
    spectrum = _analytic_spectrum(series, band_hz)
    angles = np.angle(np.concatenate(list(_signals(spectrum, len(series.times), kept)), axis=1))
    coords = {"time": series.times[kept], series.dim: series.names}
    return xr.DataArray(angles, dims=("time", series.dim), coords=coords, attrs={"units": "rad"})


def order_parameter(phase: xr.DataArray) -> xr.DataArray:
    """Kuramoto order parameter ``r(t) = |mean_k exp(i theta_k(t))|``: 1 if all phases agree, near 0 if none do.

    N independent phases give ``sqrt(pi / (4 N))`` on average, not 0: 0.089 for N = 100.

    Parameters
    ----------
    phase
        (time, anything), rad.

    Returns
    -------
    DataArray (time,), no units.

    Raises
    ------
    InputError
        If ``phase`` is not (time, one other dimension) or not finite.

    References
    ----------
    Kuramoto (1984), Chemical Oscillations, Waves, and Turbulence, Springer.

    Examples
    --------
    >>> order_parameter(xr.DataArray([[0.3, 0.3], [0.0, np.pi]], dims=("time", "region"))).round(9).values.tolist()
    [1.0, 0.0]
    """
    unit = _unit_phases(phase)
    coords = {"time": phase["time"]} if "time" in phase.coords else {}
    r = np.clip(np.abs(unit.mean(axis=1)), 0.0, 1.0)
    return xr.DataArray(r, dims=("time",), coords=coords, attrs={"units": "1", "long_name": "order parameter"})


def synchronisation_entropy(order: xr.DataArray | Floats, *, bins: int = 30) -> float:
    """Entropy of the order parameter over time, ``-sum_b p_b ln p_b`` over ``bins`` equal bins of [0, 1].

    It is 0 if r never leaves its bin and at most ``ln(bins)``. Near a critical point synchrony is moderate and
    its entropy large. The bins span [0, 1] whatever the data, so that values of two brains can be compared.

    Parameters
    ----------
    order
        r(t), 0 to 1.
    bins
        Number of bins, at least 2. Default 30.

    Returns
    -------
    Entropy, nats.

    Raises
    ------
    InputError
        If there are no values or some lie outside [0, 1].

    References
    ----------
    Yang et al. (2012), J. Neurosci. 32:1061; Xu, Feng & Yu (2022), Human Brain Mapping 43:2534.

    Examples
    --------
    >>> round(synchronisation_entropy(np.linspace(0, 1, 3000)), 3), round(float(np.log(30)), 3)
    (3.401, 3.401)
    """
    r = np.asarray(order, dtype=np.float64).ravel()
    if not len(r) or not ((r >= 0) & (r <= 1 + 1e-12)).all():
        raise InputError(f"the order parameter has {len(r)} values or some outside 0 to 1; give the r(t) of phases.")
    return _entropy(r, count(bins, "bins", least=2))


def phase_locking(phase: xr.DataArray) -> xr.DataArray:
    """Phase-locking value of every two series, ``|mean_t exp(i (theta_j(t) - theta_k(t)))|``.

    1 if their phase difference never changes; n independent samples give ``sqrt(pi / (4 n))``, 0.040 for n = 500.

    Parameters
    ----------
    phase
        (time, region), rad.

    Returns
    -------
    DataArray (region, partner), no units, diagonal 1.

    Raises
    ------
    InputError
        If ``phase`` is not (time, one other dimension) or not finite.

    References
    ----------
    Lachaux et al. (1999), Human Brain Mapping 8:194.

    Examples
    --------
    >>> t = np.arange(100.0)
    >>> phase_locking(xr.DataArray(np.stack([t, t + 1], axis=1), dims=("time", "region"))).round(9).values.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    unit = _unit_phases(phase)
    dim = next(str(name) for name in phase.dims if name != "time")
    names = phase[dim].to_numpy()
    return _locking_array(np.abs(unit.conj().T @ unit) / len(unit), names, dim)


def phase_connectivity_dynamics(phase: xr.DataArray) -> xr.DataArray:
    """Compare the phase patterns of every two moments: the phase version of functional connectivity dynamics.

    The pattern at time t is the coherence ``P_jk(t) = cos(theta_j(t) - theta_k(t))`` of all pairs j < k; entry (t, u)
    is the cosine between the patterns at t and u. It is computed from the phases without forming any pattern: with
    ``z = exp(i theta)``, ``sum_jk P_jk(t) P_jk(u) = (|sum_k z_k(t) conj z_k(u)|^2 + |sum_k z_k(t) z_k(u)|^2) / 2``.

    Parameters
    ----------
    phase
        (time, region), rad; at least 2 regions. Memory grows with the square of the number of times.

    Returns
    -------
    DataArray (time, other_time), -1 to 1, diagonal 1.

    Raises
    ------
    InputError
        If ``phase`` is not (time, one other dimension), not finite, or has a single series.

    References
    ----------
    Deco & Kringelbach (2016), Trends Neurosci. 39:125; Cabral et al. (2017), Sci. Rep. 7:5135.

    Examples
    --------
    >>> p = phase_connectivity_dynamics(xr.DataArray([[0.0, 0.0], [1.0, 1.0], [0.0, np.pi]], dims=("time", "region")))
    >>> p.round(9).values.tolist()
    [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    unit = _unit_phases(phase)
    if unit.shape[1] < 2:
        raise InputError("phase patterns were asked of 1 series, expected at least 2; give more regions.")
    times = np.asarray(phase["time"].to_numpy(), dtype=np.float64)
    return _pattern_array(_patterns(_products(unit), unit.shape[1]), times)


def synchrony(
    bold: xr.DataArray,
    *,
    band_hz: tuple[float, float] = (0.01, 0.1),
    trim_s: float = 10.0,
    bins: int = 30,
    pairs: bool | None = None,
    nulls: int = 100,
    keep_fc: bool = False,
    seed: int = 0,
) -> Synchrony:
    """Measure phase synchronisation of BOLD and hold every figure against phase-randomised surrogates.

    Measures: ``mean_order`` and ``metastability``, mean and standard deviation over time of the Kuramoto order
    parameter r(t); ``synchronisation_entropy`` of r(t); ``mean_phase_locking`` over pairs of regions;
    ``phase_fcd_mean`` and ``phase_fcd_sd`` over pairs of moments at least ``1 / band_hz[0]`` apart (nearer ones are
    alike because BOLD is slow). None changes with the units, the offsets or the order of the regions. The phase
    patterns are compared every 2 s, rounded to volumes.

    Parameters
    ----------
    bold
        (time, region) or (time, voxel), any units, ``time`` in s; at least 40 volumes and 2 series.
    band_hz
        Band, Hz. Default 0.01-0.1.
    trim_s
        Time left out at both ends, s. Default 10.
    bins
        Bins of r for its entropy. Default 30.
    pairs
        Whether to compute phase-locking of all pairs. Default: if there are at most 500 series.
    nulls
        Number of surrogates, 0 for none. Default 100.
    keep_fc
        Which surrogates. False (default): each region is randomised by itself, so the null is "no synchrony beyond
        chance". True: all together, so linear correlations stay and the null is "stationary and linear with the same
        functional connectivity", the one against which metastability and phase FCD show dynamics.
    seed
        Key of the random numbers.

    Returns
    -------
    Synchrony
        Intervals are 95 %, by a jackknife over blocks of 60 s, for the figures of r(t); NaN if the recording has
        fewer than 8 blocks. p-values are two-sided, by rank among the surrogates.

    Raises
    ------
    InputError
        If the series is too short, not finite or constant, or the band does not fit the repetition time.

    References
    ----------
    Xu, Feng & Yu (2022), Human Brain Mapping 43:2534; Shanahan (2010), Chaos 20:013108 (metastability); Prichard &
    Theiler (1994), Phys. Rev. Lett. 73:951 (surrogates).

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> x = rng.normal(size=(400, 5)) + 2 * rng.normal(size=(400, 1))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(400) * 0.72, "region": list("ABCDE")})
    >>> found = synchrony(bold, nulls=39).table
    >>> bool(found.value["mean_order"] > found.null_mean["mean_order"]), float(found.p_value["mean_order"])
    (True, 0.05)
    """
    series = read_series(bold, "synchrony", volumes=_MIN_VOLUMES)
    number = len(series.names)
    if number < 2:
        raise InputError(f"synchrony was asked of 1 {series.dim}, expected at least 2; give more of them.")
    bins, nulls = count(bins, "bins", least=2), count(nulls, "nulls", least=0)
    generator(seed, _SURROGATE)  # refuse a wrong seed before the work
    kept = _kept(series, trim_s)
    wanted = number <= _PAIRS if pairs is None else pairs
    spectrum = _analytic_spectrum(series, band_hz)
    every = max(1, round(_PHASE_STEP_S / series.step_s))
    apart = int(np.ceil(1.0 / band_hz[0] / (every * series.step_s)))
    observed = _observe(_signals(spectrum, len(series.times), kept), number, every, wanted)
    drawn = [
        _figures(
            _observe(_signals(spectrum, len(series.times), kept, (seed, d, keep_fc)), number, every, wanted),
            bins,
            apart,
        )
        for d in range(nulls)
    ]
    values = _figures(observed, bins, apart)
    order, products, locking = observed
    block = max(1, round(_JACKKNIFE_S / series.step_s))
    halves = {
        "mean_order": jackknife(order, lambda r: float(r.mean()), block),
        "metastability": jackknife(order, lambda r: float(r.std()), block),
        "synchronisation_entropy": jackknife(order, lambda r: _entropy(r, bins), block),
    }
    kind = "the regions together, FC kept" if keep_fc else "each series by itself"
    notes = {
        "mean_order": f"mean over time of r(t), {number} series",
        "metastability": "standard deviation over time of r(t)",
        "synchronisation_entropy": f"nats, {bins} bins of [0, 1], at most {np.log(bins):.2f}",
        "mean_phase_locking": "mean over pairs of series",
        "phase_fcd_mean": f"over pairs of moments at least {apart * every * series.step_s:g} s apart",
        "phase_fcd_sd": f"over pairs of moments at least {apart * every * series.step_s:g} s apart",
    }
    suffix = f"; null: phases randomised, {kind}; p two-sided" if nulls else ""
    rows = {
        name: row(
            value,
            notes[name] + suffix,
            null=np.array([figures[name] for figures in drawn]),
            half=halves.get(name, float("nan")),
        )
        for name, value in values.items()
    }
    times = series.times[kept]
    counts, edges = np.histogram(order, bins=bins, range=(0.0, 1.0))
    return Synchrony(
        table=table(rows),
        order=xr.DataArray(order, dims=("time",), coords={"time": times}, attrs={"units": "1"}),
        distribution=xr.DataArray(
            counts / len(order), dims=("r",), coords={"r": (edges[1:] + edges[:-1]) / 2}, attrs={"units": "1"}
        ),
        locking=None if locking is None else _locking_array(locking, series.names, series.dim),
        phase_fcd=_pattern_array(_patterns(products, number), times[::every]),
        band_hz=(float(band_hz[0]), float(band_hz[1])),
        nulls=nulls,
    )


_Observed = tuple[Floats, Floats, Floats | None]


def _observe(signals: Iterator[Complexes], number: int, every: int, pairs: bool) -> _Observed:
    """r(t), the products from which phase patterns are compared, and phase-locking, summed over blocks of series."""
    total: Complexes | None = None
    products: Floats | None = None
    blocks = []
    for unit in signals:
        total = unit.sum(axis=1) if total is None else total + unit.sum(axis=1)
        part = _products(unit[::every])
        products = part if products is None else np.add(products, part, out=products)
        if pairs:
            blocks.append(unit)
    assert total is not None  # there is at least one series
    assert products is not None
    locking = None
    if pairs:
        unit = np.concatenate(blocks, axis=1)
        locking = np.abs(unit.conj().T @ unit) / len(unit)
    return np.clip(np.abs(total) / number, 0.0, 1.0), products, locking


def _figures(observed: _Observed, bins: int, apart: int) -> dict[str, float]:
    order, products, locking = observed
    number = round(products[0, 0, 0] + products[1, 0, 0])  # cos^2 + sin^2 summed over the series
    figures = {
        "mean_order": float(order.mean()),
        "metastability": float(order.std()),
        "synchronisation_entropy": _entropy(order, bins),
    }
    if locking is not None:
        figures["mean_phase_locking"] = float(locking[np.triu_indices(len(locking), 1)].mean())
    patterns = _patterns(products, number)
    far = patterns[np.triu_indices(len(patterns), min(apart, len(patterns) - 1))]
    return figures | {"phase_fcd_mean": float(far.mean()), "phase_fcd_sd": float(far.std())}


def _entropy(order: Floats, bins: int) -> float:
    share = np.histogram(np.minimum(order, 1.0), bins=bins, range=(0.0, 1.0))[0] / len(order)
    share = share[share > 0]
    return float(np.abs(-(share * np.log(share)).sum()))


def _products(unit: Complexes) -> Floats:
    """Sums over series of cos cos, sin sin and sin cos at every two moments: (3, time, time); additive over blocks."""
    cos, sin = np.ascontiguousarray(unit.real), np.ascontiguousarray(unit.imag)
    return np.stack([cos @ cos.T, sin @ sin.T, sin @ cos.T])


def _patterns(products: Floats, number: int) -> Floats:
    """Cosine between the phase patterns of every two moments."""
    cc, ss, sc = products
    # |sum z conj z'|^2 + |sum z z'|^2, halved for all pairs, less the diagonal, halved again for the upper triangle
    square = ((cc + ss) ** 2 + (sc - sc.T) ** 2 + (cc - ss) ** 2 + (sc + sc.T) ** 2) / 4 - number / 2
    length = np.sqrt(np.maximum(np.diag(square), 0.0))
    # a pattern has no length if all pairs are a quarter of a turn apart: it is like no other
    scale = np.where(length > 1e-9 * number, length, np.inf)
    matrix = np.clip(square / scale[:, None] / scale, -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


def _analytic_spectrum(series: Series, band_hz: tuple[float, float]) -> Complexes:
    """One-sided Fourier coefficients of the analytic signal of the band-passed series, (frequency, series)."""
    volumes = len(series.times)
    spectrum = np.empty((volumes // 2 + 1, len(series.names)), dtype=np.complex128)
    for _, columns in _blocks(len(series.names)):
        part = series.values[:, columns]
        # scale free: tiny or huge units must not touch the accuracy
        spectrum[:, columns] = np.fft.rfft(band_pass(part / np.ptp(part, axis=0), series.step_s, band_hz), axis=0)
    spectrum[1 : (volumes - 1) // 2 + 1] *= 2.0
    return spectrum


def _analytic(spectrum: Complexes, volumes: int) -> Complexes:
    from scipy.fft import ifft  # keeps to one thread unless told, and is quicker than numpy's for many columns

    padded = np.zeros((volumes, spectrum.shape[1]), dtype=np.complex128)
    padded[: len(spectrum)] = spectrum
    return np.asarray(ifft(padded, axis=0, overwrite_x=True), dtype=np.complex128)


def _signals(
    spectrum: Complexes, volumes: int, kept: slice, surrogate: tuple[int, int, bool] | None = None
) -> Iterator[Complexes]:
    """Unit phasors ``exp(i theta)`` block by block, of the data or of surrogate (seed, draw, keep_fc)."""
    free = (volumes - 1) // 2
    for block, columns in _blocks(spectrum.shape[1]):
        part = spectrum[:, columns]
        if surrogate is not None:
            seed, draw, keep_fc = surrogate
            key = _SURROGATE + (draw << 8) + (0 if keep_fc else block << 40)
            shape = (free, 1) if keep_fc else (free, part.shape[1])
            part = part.copy()
            part[1 : free + 1] *= np.exp(2j * np.pi * generator(seed, key).random(shape))
        signal = _analytic(part, volumes)[kept]
        yield signal / np.maximum(np.abs(signal), np.finfo(np.float64).tiny)


def _blocks(number: int) -> Iterator[tuple[int, slice]]:
    for block, start in enumerate(range(0, number, _BLOCK)):
        yield block, slice(start, min(start + _BLOCK, number))


def _kept(series: Series, trim_s: float) -> slice:
    volumes = len(series.times)
    if not (np.isfinite(trim_s) and trim_s >= 0):
        raise InputError(f"trim_s is {trim_s}, expected seconds from 0; 10 is usual.")
    cut = int(np.ceil(trim_s / series.step_s - 1e-9))
    if volumes - 2 * cut < _MIN_VOLUMES // 2:
        raise InputError(
            f"leaving out {trim_s:g} s at both ends keeps {max(volumes - 2 * cut, 0)} of {volumes} volumes, expected "
            f"at least {_MIN_VOLUMES // 2}; lower trim_s or give a longer recording."
        )
    return slice(cut, volumes - cut)


def _unit_phases(phase: xr.DataArray) -> Complexes:
    if phase.ndim != 2 or "time" not in phase.dims:
        raise InputError(
            f"phases have dimensions {tuple(phase.dims)}, expected time and one other; name its dimensions so."
        )
    values = np.asarray(phase.transpose("time", ...), dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        raise InputError("phases are empty or not finite, expected radians everywhere; see `phases`.")
    return np.asarray(np.exp(1j * values), dtype=np.complex128)


def _locking_array(matrix: Floats, names: npt.NDArray[np.generic], dim: str) -> xr.DataArray:
    matrix = np.clip(matrix, 0.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    attrs = {"units": "1", "long_name": "phase-locking value"}
    return xr.DataArray(matrix, dims=(dim, "partner"), coords={dim: names, "partner": names}, attrs=attrs)


def _pattern_array(matrix: Floats, times: Floats) -> xr.DataArray:
    coords = {"time": times, "other_time": times}
    attrs = {"units": "1", "long_name": "phase functional connectivity dynamics"}
    return xr.DataArray(matrix, dims=("time", "other_time"), coords=coords, attrs=attrs)
