"""Power spectra with confidence bands, and which of their peaks a memory of one step does not explain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse._measures import Series, count, read_series, row, table, table_dict
from twinbrain.analyse._numeric import Floats, generator
from twinbrain.errors import InputError

__all__ = ["Spectra", "spectra"]

Method = Literal["multitaper", "welch"]

_NULL_PEAKS, _NULL_SERIES = 21, 22  # second half of the random keys
_BLOCK = 512  # series transformed at a time
_DRAWS = 1999  # AR(1) series per coefficient from which the largest ratio under the null is learnt
_HANN_BINS = 1.5  # equivalent noise bandwidth of the Hann window, in units of 1 / segment
_MIN_VOLUMES = 40
# Coefficients tried for AR(1); the spectrum hardly changes between two of them.
_MEMORY = np.round(np.concatenate([np.arange(-0.9, 0.9, 0.02), np.arange(0.9, 0.9951, 0.005)]), 3)
_KNOTS = 10  # nulls of peaks are drawn for every tenth of them


@dataclass(frozen=True, eq=False)
class Spectra:
    """Result of `spectra`.

    Attributes
    ----------
    table
        Index ``measure``; columns ``value``, ``low``, ``high``, ``null_mean``, ``null_sd``, ``p_value``, ``note``.
    power
        One-sided power spectral density, (frequency, region) or the dimension given, frequency in Hz, squared units
        per Hz.
    low_factor, high_factor
        ``power`` times these is the confidence band, (frequency,).
    background
        Density of the AR(1) process fitted to each series as this estimate sees it, like ``power``.
    p_values
        Family-wise p-value of ``power / background`` over the searched frequencies of a series, like ``power``; NaN
        outside ``search_hz``.
    peaks
        Significant peaks: columns named as the dimension, ``frequency_hz``, ``power``, ``ratio`` (to the background),
        ``p_value``; sorted by series and frequency.
    memory
        Coefficient of the AR(1) process of each series.
    resolution_hz
        Full width of the band over which each value of the spectrum is an average, Hz.
    dof
        Degrees of freedom of the chi-square distribution of ``power``.
    level
        Of the confidence band.
    method, search_hz
        As used.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(600, 1))
    >>> x = xr.DataArray(x, dims=("time", "input"), coords={"time": np.arange(600) * 0.8, "input": ["Thalamus_L"]})
    >>> found = spectra(x, nulls=0, resolution_hz=0.01)
    >>> found.dof, bool((found.low < found.power).all() and (found.power < found.high).all())
    (6.0, True)
    """

    table: pd.DataFrame
    power: xr.DataArray
    low_factor: xr.DataArray
    high_factor: xr.DataArray
    background: xr.DataArray
    p_values: xr.DataArray
    peaks: pd.DataFrame
    memory: xr.DataArray
    resolution_hz: float
    dof: float
    level: float
    method: str
    search_hz: tuple[float, float]

    @property
    def low(self) -> xr.DataArray:
        """Lower end of the confidence band of each value."""
        return self.power * self.low_factor

    @property
    def high(self) -> xr.DataArray:
        """Upper end of the confidence band of each value."""
        return self.power * self.high_factor

    def to_dict(self) -> dict[str, object]:
        """Figures ready for JSON; what is not defined is None. At most 1,000 peaks, those with the largest ratio."""
        largest = self.peaks.nlargest(1000, "ratio").sort_index()
        return {
            "method": self.method,
            "resolution_hz": self.resolution_hz,
            "degrees_of_freedom": self.dof,
            "search_hz": list(self.search_hz),
            "measures": table_dict(self.table),
            "peaks": [
                {key: value if isinstance(value, str) else float(value) for key, value in line.items()}
                for line in largest.to_dict("records")
            ],
        }


def spectra(
    series: xr.DataArray,
    *,
    method: Method = "multitaper",
    resolution_hz: float = 0.005,
    search_hz: tuple[float, float] | None = None,
    band_hz: tuple[float, float] = (0.01, 0.1),
    alpha: float = 0.05,
    level: float = 0.95,
    nulls: int = 100,
    seed: int = 0,
) -> Spectra:
    """Estimate power spectra of BOLD or of a drive, and find their peaks above a process without rhythm.

    Each series is freed of its linear trend. ``"multitaper"``: the mean over K Slepian (DPSS) tapers of

    ``S_k(f) = 2 dt |sum_t w_k(t) x(t) exp(-2 pi i f t dt)|^2``,  K = floor(n dt resolution_hz) - 1,

    with half bandwidth ``resolution_hz / 2``. ``"welch"``: the mean over Hann segments of length
    ``1.5 / resolution_hz``, half overlapping. The estimate at f is distributed as ``S(f) chi^2_dof / dof`` (dof = 2 K,
    or with overlap the value of Percival & Walden), from which the band; it holds for each frequency by itself.

    Peaks: an AR(1) process is fitted to the logarithm of each spectrum within ``search_hz``, by least squares, with
    the expected value of this estimate for AR(1) (its smoothing included). A peak is a local maximum of the ratio to
    the fit whose family-wise p-value is at most ``alpha``: the share of 1,999 Gaussian AR(1) series of like memory,
    each fitted in the same way, whose *largest* ratio over all searched frequencies reaches it. It is family-wise
    over the frequencies of one series, not over series. BOLD that was filtered is no AR(1) process: search inside its
    band. With a null, 18,000 series take a second per surrogate: ask for few.

    The table: ``peak_hz``, where the mean of the standardised spectra is largest in ``search_hz``; ``band_share``,
    share of the power between ``band_hz``, mean over series; ``exponent``, slope of the log spectrum over log
    frequency in ``search_hz``, mean over series; ``memory``, mean AR(1) coefficient; ``series_with_peak``, share of
    series with at least one peak; ``largest_ratio``, mean over series of the largest ratio. A phase-randomised series
    has the same spectrum, so the null is AR(1): residuals of all series are shuffled in time together and sent
    through the fitted processes, which keeps the correlations between series. No figure of the table changes with
    units, offsets or the order of the series.

    Parameters
    ----------
    series
        (time, region), (time, voxel) or (time, input), any units, ``time`` in s; at least 40 samples.
    method
        ``"multitaper"`` (default) or ``"welch"``.
    resolution_hz
        Full width of the band each value averages over, Hz. Default 0.005, which needs 600 s; wider for shorter ones.
    search_hz
        Where peaks are sought and AR(1) is fitted, Hz. Default: from ``resolution_hz`` to the Nyquist frequency less
        ``resolution_hz``.
    band_hz
        Band of ``band_share``, Hz. Default 0.01-0.1.
    alpha
        Family-wise level of peaks. Default 0.05.
    level
        Of the confidence band. Default 0.95.
    nulls
        Surrogates for the table, 0 for none. Default 100.
    seed
        Key of the random numbers.

    Returns
    -------
    Spectra

    Raises
    ------
    InputError
        If the recording is too short for the resolution, not finite or constant, or the bands do not fit.

    References
    ----------
    Thomson (1982), Proc. IEEE 70:1055; Percival & Walden (1993), Spectral Analysis for Physical Applications,
    sections 6.17 and 7; Mann & Lees (1996), Climatic Change 33:409 (AR(1) background).

    Examples
    --------
    >>> t = np.arange(1200) * 0.72
    >>> x = np.random.Generator(np.random.Philox(key=2)).normal(size=(1200, 1)).cumsum(axis=0)
    >>> x = x - 0.9 * np.roll(x, 1, axis=0) + 1.5 * np.sin(2 * np.pi * 0.0225 * t)[:, None]
    >>> x = xr.DataArray(x, dims=("time", "region"), coords={"time": t, "region": ["A"]})
    >>> spectra(x, nulls=0).peaks.frequency_hz.round(3).tolist()
    [0.022]
    """
    data = read_series(series, "a spectrum", volumes=_MIN_VOLUMES, allowed=("region", "voxel", "input"))
    nulls = count(nulls, "nulls", least=0)
    for name, share in (("alpha", alpha), ("level", level)):
        if not 0 < share < 1:
            raise InputError(
                f"{name} is {share}, expected a number between 0 and 1; give 0.05 for alpha, 0.95 for level."
            )
    generator(seed, 0)  # refuse a wrong seed before the work
    estimate = _estimator(data, method, resolution_hz)
    searched = _searched(estimate, search_hz, data)
    if not 0 <= band_hz[0] < band_hz[1]:
        raise InputError(f"band_hz is {band_hz}, expected 0 <= low < high in Hz; give for example (0.01, 0.1).")
    fit = _Background(estimate, searched)
    null = _Null(estimate, fit, seed)
    power, background, memory, found = _all(data, estimate, fit, null, alpha, band_hz)
    p_values = np.full(power.shape, np.nan)
    ratio = power / background
    for columns in _blocks(power.shape[1]):
        p_values[searched, columns] = null.p_values(ratio[searched, columns], memory[columns])
    peaks = _peaks(data, estimate, power, ratio, p_values, alpha)
    drawn = _surrogate_figures(data, estimate, fit, null, alpha, band_hz, memory, nulls, seed) if nulls else []
    coords = {"frequency": estimate.frequency, data.dim: data.names}
    dims = ("frequency", data.dim)
    density = {"units": f"({data.units})^2/Hz"}
    factors = estimate.band(level)
    by_frequency = [
        xr.DataArray(f, dims=("frequency",), coords={"frequency": estimate.frequency}, attrs={"units": "1"})
        for f in factors
    ]
    return Spectra(
        table=_table(found, drawn, data, estimate, searched, band_hz, alpha),
        power=xr.DataArray(power, dims=dims, coords=coords, attrs=density | {"long_name": "power spectral density"}),
        low_factor=by_frequency[0],
        high_factor=by_frequency[1],
        background=xr.DataArray(
            background, dims=dims, coords=coords, attrs=density | {"long_name": "AR(1) background"}
        ),
        p_values=xr.DataArray(p_values, dims=dims, coords=coords, attrs={"units": "1"}),
        peaks=peaks,
        memory=xr.DataArray(memory, dims=(data.dim,), coords={data.dim: data.names}, attrs={"units": "1"}),
        resolution_hz=estimate.resolution_hz,
        dof=estimate.dof,
        level=level,
        method=method,
        search_hz=(float(estimate.frequency[searched.start]), float(estimate.frequency[searched.stop - 1])),
    )


# ---- the two estimators ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Estimator:
    """Tapers laid over the series at each start; multitaper has one start and many tapers, Welch the reverse."""

    tapers: Floats  # (taper, sample), each with sum of squares 1
    starts: npt.NDArray[np.int64]
    step_s: float
    resolution_hz: float
    dof: float

    @property
    def frequency(self) -> Floats:
        return np.asarray(np.fft.rfftfreq(self.tapers.shape[1], self.step_s), dtype=np.float64)

    def power(self, values: Floats) -> Floats:
        """One-sided density (frequency, series) of detrended ``values`` (time, series)."""
        from scipy.fft import rfft

        length = self.tapers.shape[1]
        rows = np.ascontiguousarray(values.T)  # transforms are three times quicker along memory
        total = np.zeros((len(rows), length // 2 + 1))
        for start in self.starts:
            for taper in self.tapers:
                part = rfft(rows[:, start : start + length] * taper, axis=1)
                total += part.real**2 + part.imag**2
        total *= self.step_s / (len(self.starts) * len(self.tapers)) * self._sides(length)
        return np.ascontiguousarray(total.T)

    def expected(self, memory: Floats) -> Floats:
        """Expected density (frequency, memory) for AR(1) processes of variance 1, all smoothing included."""
        length = self.tapers.shape[1]
        # mean over tapers of sum_t w(t) w(t + lag), for all lags, circularly on twice the length
        window = np.fft.irfft((np.abs(np.fft.rfft(self.tapers, 2 * length, axis=1)) ** 2).mean(axis=0), 2 * length)
        lag = np.minimum(np.arange(2 * length), 2 * length - np.arange(2 * length))
        weighted = window[:, None] * memory[None, :] ** lag[:, None]
        density = np.fft.rfft(weighted, axis=0).real[::2][: length // 2 + 1] * self.step_s
        return np.asarray(np.maximum(density, np.finfo(np.float64).tiny) * self._sides(length)[:, None])

    def band(self, level: float) -> tuple[Floats, Floats]:
        """Factors of the confidence band at each frequency; 0 and Nyquist have half the degrees of freedom."""
        from scipy.stats import chi2  # slow to import

        length = self.tapers.shape[1]
        dof = np.where(self._sides(length) == 2.0, self.dof, self.dof / 2)
        upper, lower = (1 + level) / 2, (1 - level) / 2
        return np.asarray(dof / chi2.ppf(upper, dof)), np.asarray(dof / chi2.ppf(lower, dof))

    @staticmethod
    def _sides(length: int) -> Floats:
        """2 where a frequency stands for itself and its negative, 1 at 0 and at the Nyquist frequency."""
        sides = np.full(length // 2 + 1, 2.0)
        sides[0] = 1.0
        if length % 2 == 0:
            sides[-1] = 1.0
        return sides


def _estimator(data: Series, method: str, resolution_hz: float) -> _Estimator:
    from scipy.signal.windows import dpss, hann  # slow to import

    volumes, step = len(data.times), data.step_s
    if method not in ("multitaper", "welch"):
        raise InputError(f"method is {method!r}, expected 'multitaper' or 'welch'; choose one of them.")
    if not (np.isfinite(resolution_hz) and 0 < resolution_hz < 0.25 / step):
        raise InputError(
            f"resolution_hz is {resolution_hz}, expected between 0 and {0.25 / step:g} Hz, half the Nyquist frequency; "
            "0.005 is usual."
        )
    if method == "multitaper":
        product = volumes * step * resolution_hz  # 2 N W
        tapers = int(np.floor(product + 1e-9)) - 1
        if tapers < 2:
            raise InputError(
                f"{volumes} volumes of {step:g} s are too short for a multitaper resolution of {resolution_hz:g} Hz, "
                f"expected at least {3 / resolution_hz:g} s; give resolution_hz={3.0 / (volumes * step) * 1.001:.3g}."
            )
        windows = np.asarray(dpss(volumes, product / 2, tapers), dtype=np.float64)
        return _Estimator(windows, np.zeros(1, dtype=np.int64), step, float(resolution_hz), 2.0 * tapers)
    length = round(_HANN_BINS / (resolution_hz * step))
    hop = max(1, length // 2)
    segments = (volumes - length) // hop + 1 if volumes >= length else 0
    if segments < 2 or length < 8:
        raise InputError(
            f"{volumes} volumes of {step:g} s hold {segments} half-overlapping segments of {length} volumes for a "
            f"resolution of {resolution_hz:g} Hz, expected at least 2 of 8 volumes; choose another resolution_hz."
        )
    taper = np.asarray(hann(length, sym=False), dtype=np.float64)
    taper /= np.sqrt((taper**2).sum())
    overlap = float((taper[hop:] * taper[: length - hop]).sum()) ** 2
    dof = 2 * segments / (1 + 2 * (1 - 1 / segments) * overlap)
    starts = (volumes - (segments - 1) * hop - length) // 2 + hop * np.arange(segments)
    return _Estimator(taper[None, :], starts.astype(np.int64), step, _HANN_BINS / (length * step), dof)


def _searched(estimate: _Estimator, search_hz: tuple[float, float] | None, data: Series) -> slice:
    frequency, nyquist = estimate.frequency, 0.5 / data.step_s
    low, high = search_hz if search_hz else (estimate.resolution_hz, nyquist - estimate.resolution_hz)
    first, last = np.searchsorted(frequency, [low * (1 - 1e-9), high * (1 + 1e-9)])
    if not 0 < low < high <= nyquist * (1 + 1e-9) or high - low < 4 * estimate.resolution_hz * (1 - 1e-9):
        raise InputError(
            f"search_hz is ({low:g}, {high:g}) Hz, expected 0 < low < high <= {nyquist:g} Hz and a width of at least 4 "
            f"times the resolution of {estimate.resolution_hz:g} Hz; widen it or give a finer resolution_hz."
        )
    return slice(max(int(first), 1), int(last))


def _detrended(values: Floats) -> Floats:
    """Columns without mean and straight line, of range about 1, so that units cannot touch the accuracy."""
    x = values / np.ptp(values, axis=0)
    x -= x.mean(axis=0)
    line = np.arange(len(x)) - (len(x) - 1) / 2
    line /= np.sqrt((line**2).sum())
    x -= line[:, None] * (line @ x)
    return np.asarray(x)


def _blocks(number: int) -> Iterator[slice]:
    for start in range(0, number, _BLOCK):
        yield slice(start, min(start + _BLOCK, number))


# ---- AR(1) background and peaks -------------------------------------------------------------------------------------


class _Background:
    """AR(1) fitted by least squares to the log spectrum: a narrow peak moves a logarithm little."""

    def __init__(self, estimate: _Estimator, searched: slice) -> None:
        from scipy.special import digamma

        self.searched = searched
        self.shapes = estimate.expected(_MEMORY)
        logs = np.log(self.shapes[searched])
        self._level = logs.mean(axis=0)
        self._logs = logs - self._level
        self._squares = (self._logs**2).sum(axis=0)
        self._bias = float(digamma(estimate.dof / 2) - np.log(estimate.dof / 2))  # E log(chi^2_dof / dof)

    def fit(self, power: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
        """Index of the memory and variance for each column of ``power`` (frequency, series)."""
        logs = np.log(np.maximum(power[self.searched], np.finfo(np.float64).tiny))
        # |y - s|^2 = const - 2 y.s + s.s, for all memories at once
        index = np.argmin(self._squares[:, None] - 2.0 * self._logs.T @ logs, axis=0)
        return index.astype(np.int64), np.exp(logs.mean(axis=0) - self._level[index] - self._bias)


class _Null:
    """Largest ratios over the searched frequencies of Gaussian AR(1) series that are fitted as the data are."""

    def __init__(self, estimate: _Estimator, fit: _Background, seed: int) -> None:
        self._estimate, self._fit = estimate, fit
        self._knots = _MEMORY[_KNOTS // 2 :: _KNOTS]
        self._largest: dict[int, Floats] = {}  # drawn when first needed: a recording needs few of the memories
        samples = int(estimate.starts[-1]) + estimate.tapers.shape[1]
        self._noise = generator(seed, _NULL_PEAKS).normal(size=(samples, _DRAWS))

    def p_values(self, ratio: Floats, memory: Floats) -> Floats:
        """Family-wise p-values of ratios (frequency, series), by the null of the nearest memory."""
        nearest = np.abs(memory[:, None] - self._knots).argmin(axis=1)
        p = np.empty(ratio.shape)
        for k in np.unique(nearest):
            mine = nearest == k
            p[:, mine] = (1 + _DRAWS - np.searchsorted(self._at(int(k)), ratio[:, mine])) / (1 + _DRAWS)
        return p

    def _at(self, knot: int) -> Floats:
        if knot not in self._largest:
            fit = self._fit
            power = self._estimate.power(_detrended(_filtered(self._noise, np.full(_DRAWS, self._knots[knot]))))
            index, variance = fit.fit(power)
            ratio = power[fit.searched] / (fit.shapes[fit.searched][:, index] * variance)
            self._largest[knot] = np.sort(ratio.max(axis=0))
        return self._largest[knot]


def _filtered(noise: Floats, memory: Floats) -> Floats:
    """AR(1) series driven by ``noise`` (time, series), started in their stationary state."""
    x = np.empty_like(noise)
    x[0] = noise[0] / np.sqrt(1 - memory**2)
    for t in range(1, len(noise)):
        x[t] = memory * x[t - 1] + noise[t]
    return x


def _peaks(
    data: Series, estimate: _Estimator, power: Floats, ratio: Floats, p_values: Floats, alpha: float
) -> pd.DataFrame:
    """Local maxima of the ratio within half a resolution that are significant."""
    from scipy.ndimage import maximum_filter1d

    frequency = estimate.frequency
    width = 2 * max(1, round(estimate.resolution_hz / 2 / frequency[1])) + 1
    rows, columns = [], []
    for block in _blocks(ratio.shape[1]):
        with np.errstate(invalid="ignore"):  # outside the search p is NaN, which is no peak
            significant = p_values[:, block] <= alpha
        row_index, column = np.nonzero(
            significant & (ratio[:, block] == maximum_filter1d(ratio[:, block], width, axis=0))
        )
        rows.append(row_index)
        columns.append(column + block.start)
    i, j = np.concatenate(rows), np.concatenate(columns)
    order = np.lexsort((i, j))
    i, j = i[order], j[order]
    return pd.DataFrame(
        {
            data.dim: data.names[j],
            "frequency_hz": frequency[i],
            "power": power[i, j],
            "ratio": ratio[i, j],
            "p_value": p_values[i, j],
        }
    )


# ---- the table ------------------------------------------------------------------------------------------------------


class _Sums:
    """Figures of the table, summed over blocks of series."""

    def __init__(self, estimate: _Estimator, searched: slice, band_hz: tuple[float, float], alpha: float) -> None:
        frequency = estimate.frequency
        self._frequency, self._searched, self._alpha = frequency, searched, alpha
        self._band = (frequency >= band_hz[0]) & (frequency <= band_hz[1])
        self._mean = np.zeros(len(frequency))
        logs = np.log(frequency[searched])
        self._logs = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
        self._sums = dict.fromkeys(("band_share", "exponent", "memory", "series_with_peak", "largest_ratio"), 0.0)
        self._number = 0

    def add(self, power: Floats, ratio: Floats, memory: Floats, null: _Null) -> None:
        share = power / power.sum(axis=0)
        self._mean += share.sum(axis=1)
        largest = ratio[self._searched].max(axis=0)
        smallest_p = null.p_values(largest[None, :], memory)[0]
        self._sums["band_share"] += float(share[self._band].sum())
        floor = np.finfo(np.float64).tiny
        self._sums["exponent"] += float((self._logs @ np.log(np.maximum(power[self._searched], floor))).sum())
        self._sums["memory"] += float(memory.sum())
        self._sums["series_with_peak"] += float((smallest_p <= self._alpha).sum())
        self._sums["largest_ratio"] += float(largest.sum())
        self._number += power.shape[1]

    def figures(self) -> dict[str, float]:
        top = self._searched.start + int(np.argmax(self._mean[self._searched]))
        return {"peak_hz": float(self._frequency[top])} | {k: v / self._number for k, v in self._sums.items()}


def _all(
    data: Series, estimate: _Estimator, fit: _Background, null: _Null, alpha: float, band_hz: tuple[float, float]
) -> tuple[Floats, Floats, Floats, dict[str, float]]:
    """Power and background in squared units per Hz, memory, and the figures of the table."""
    number = len(data.names)
    power = np.empty((len(estimate.frequency), number))
    background, memory = np.empty_like(power), np.empty(number)
    sums = _Sums(estimate, fit.searched, band_hz, alpha)
    for block in _blocks(number):
        scaled = estimate.power(_detrended(data.values[:, block]))
        index, variance = fit.fit(scaled)
        shape = fit.shapes[:, index] * variance
        memory[block] = _MEMORY[index]
        sums.add(scaled, scaled / shape, memory[block], null)
        units = np.ptp(data.values[:, block], axis=0) ** 2
        power[:, block], background[:, block] = scaled * units, shape * units
    return power, background, memory, sums.figures()


def _surrogate_figures(
    data: Series,
    estimate: _Estimator,
    fit: _Background,
    null: _Null,
    alpha: float,
    band_hz: tuple[float, float],
    memory: Floats,
    nulls: int,
    seed: int,
) -> list[dict[str, float]]:
    """Figures of AR(1) series driven by the residuals of the data, shuffled in time together."""
    volumes = len(data.times)
    sums = [_Sums(estimate, fit.searched, band_hz, alpha) for _ in range(nulls)]
    orders = [generator(seed, _NULL_SERIES + (d << 8)).permutation(volumes - 1) for d in range(nulls)]
    for block in _blocks(len(data.names)):
        x = _detrended(data.values[:, block])
        residuals = x[1:] - memory[block] * x[:-1]
        for total, order in zip(sums, orders, strict=True):
            noise = np.concatenate([residuals[order[:1]], residuals[order]])
            power = estimate.power(_detrended(_filtered(noise, memory[block])))
            index, variance = fit.fit(power)
            total.add(power, power / (fit.shapes[:, index] * variance), _MEMORY[index], null)
    return [total.figures() for total in sums]


def _table(
    found: dict[str, float],
    drawn: list[dict[str, float]],
    data: Series,
    estimate: _Estimator,
    searched: slice,
    band_hz: tuple[float, float],
    alpha: float,
) -> pd.DataFrame:
    low, high = estimate.frequency[searched.start], estimate.frequency[searched.stop - 1]
    inside = f"{low:.3g}-{high:.3g} Hz"
    notes = {
        "peak_hz": f"Hz, largest mean standardised power in {inside}, resolution {estimate.resolution_hz:.3g} Hz",
        "band_share": f"share of power in {band_hz[0]:g}-{band_hz[1]:g} Hz, mean over {len(data.names)} series",
        "exponent": f"slope of log power over log frequency in {inside}, mean over series",
        "memory": "AR(1) coefficient per sample, mean over series",
        "series_with_peak": f"share with a peak at family-wise {alpha:g} over {inside}",
        "largest_ratio": f"largest power over AR(1) background in {inside}, mean over series",
    }
    suffix = "; null: AR(1) with shuffled residuals; p two-sided" if drawn else ""
    return table(
        {
            name: row(value, notes[name] + suffix, null=np.array([one[name] for one in drawn]))
            for name, value in found.items()
        }
    )
