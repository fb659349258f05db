"""Clean recorded series: labelled array in, labelled array out, coordinates and attributes kept.

Every function works along ``time`` and leaves the input alone. A volume that is NaN in every series is missing: it
takes no part in means, lines and regressions and stays NaN. None of the functions is applied silently by a reader
(what a loader or a :class:`~twinbrain.data.preparation.Preparation` does is stated, step by step).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.errors import InputError

__all__ = ["band_pass", "detrend", "percent_signal_change", "regress_global_signal", "z_score"]

Float = npt.NDArray[np.float64]


def _along_time(series: xr.DataArray) -> tuple[Float, int]:
    if "time" not in series.dims:
        raise InputError(
            f"the series has dimensions {tuple(str(d) for d in series.dims)}, but one named 'time' is "
            "needed; rename it."
        )
    axis = series.dims.index("time")
    values = np.asarray(series.values, dtype=np.float64)
    values = np.moveaxis(values, axis, 0)
    there = _present(values)
    if not there.any() or not np.isfinite(values[there]).all():
        raise InputError(
            "the series holds values that are not finite, and not in whole volumes; cut those volumes or regions first."
        )
    return values, axis


def _present(values: Float) -> npt.NDArray[np.bool_]:
    """Say which volumes (rows) are there: a missing one is NaN in every series."""
    return np.asarray(~np.isnan(values.reshape(len(values), -1)).all(axis=1), dtype=np.bool_)


def _like(series: xr.DataArray, values: Float, axis: int, **attrs: Any) -> xr.DataArray:
    return series.copy(data=np.moveaxis(values, 0, axis)).assign_attrs(attrs)


def _constant(series: xr.DataArray, bad: npt.NDArray[np.bool_]) -> str:
    """Name the first series of ``bad``, for a message."""
    if series.ndim == 2 and "region" in series.coords:
        return f"region '{series.coords['region'].values[int(np.argmax(bad))]}'"
    return f"series {int(np.argmax(bad.ravel()))}"


def percent_signal_change(series: xr.DataArray) -> xr.DataArray:
    """Turn scanner intensities into percent signal change, 100 (x / mean(x) - 1).

    Parameters
    ----------
    series
        Has a dimension ``time``; intensities, so each mean is above 0.

    Returns
    -------
    xarray.DataArray
        As ``series``, units "%".

    Raises
    ------
    InputError
        If a mean is not above 0: the series was already centred and has no baseline any more.

    Examples
    --------
    >>> x = xr.DataArray([90.0, 110.0], dims="time")
    >>> percent_signal_change(x).values
    array([-10.,  10.])
    """
    values, axis = _along_time(series)
    mean = values[_present(values)].mean(axis=0)
    if (mean <= 0).any():
        raise InputError(
            f"{_constant(series, np.asarray(mean <= 0))} has a mean that is not above 0, so percent signal "
            "change has no baseline; give raw intensities, or use the series as it is."
        )
    return _like(series, 100.0 * (values / mean - 1.0), axis, units="%")


def detrend(series: xr.DataArray, order: int = 1) -> xr.DataArray:
    """Remove the mean and slow drifts: a least-squares polynomial in time of degree ``order``.

    Parameters
    ----------
    series
        Has a dimension ``time``.
    order
        0 removes the mean, 1 a straight line as well (default), 2 a parabola, and so on.

    Raises
    ------
    InputError
        If ``order`` is negative or not below the number of volumes.

    Examples
    --------
    >>> x = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="time")
    >>> bool(abs(detrend(x)).max() < 1e-12)
    True
    """
    values, axis = _along_time(series)
    there = _present(values)
    if not 0 <= order < int(there.sum()):
        raise InputError(f"order is {order}, but it must be 0 or more and below the {int(there.sum())} volumes.")
    basis = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, len(values)), order)
    q = np.linalg.qr(basis[there])[0]
    flat = values[there].reshape(int(there.sum()), -1)
    result = np.full_like(values, np.nan)
    result[there] = (flat - q @ (q.T @ flat)).reshape(-1, *values.shape[1:])
    return _like(series, result, axis)


def z_score(series: xr.DataArray) -> xr.DataArray:
    """Give every series mean 0 and standard deviation 1 (population, ddof = 0).

    Raises
    ------
    InputError
        If a series is constant.

    Examples
    --------
    >>> z_score(xr.DataArray([1.0, 3.0], dims="time")).values
    array([-1.,  1.])
    """
    values, axis = _along_time(series)
    kept = values[_present(values)]
    centred = values - kept.mean(axis=0)
    sd = kept.std(axis=0)
    bad = sd <= 1e-12 * np.abs(kept).max(axis=0)
    if bad.any():
        raise InputError(f"{_constant(series, bad)} is constant and has no z-score; leave it out.")
    return _like(series, centred / sd, axis, units="1")


def band_pass(
    series: xr.DataArray,
    low_hz: float = 0.01,
    high_hz: float = 0.1,
    *,
    repetition_time_s: float | None = None,
    order: int = 2,
) -> xr.DataArray:
    """Keep the frequencies from ``low_hz`` to ``high_hz``, without a shift in time.

    A Butterworth filter of degree ``order`` run forwards and backwards over the detrended series
    (the two ends are extended by an odd reflection). Missing volumes are bridged by straight lines for the filter
    and are missing afterwards.

    Parameters
    ----------
    series
        Has a dimension ``time``.
    low_hz, high_hz
        Half-power frequencies of one run of the filter, Hz. Default: the usual band of resting BOLD.
    repetition_time_s
        Seconds from sample to sample; default: the series' attribute of that name.
    order
        Degree of the filter (counted once).

    Raises
    ------
    InputError
        If the repetition time is unknown, the band is empty or above half the sampling rate, or the
        series is too short.

    Examples
    --------
    >>> t = np.arange(400) * 0.72
    >>> x = xr.DataArray(np.sin(2 * np.pi * 0.05 * t) + np.sin(2 * np.pi * 0.5 * t), dims="time")
    >>> y = band_pass(x, repetition_time_s=0.72)
    >>> bool(np.corrcoef(y, np.sin(2 * np.pi * 0.05 * t))[0, 1] > 0.98)
    True
    """
    from scipy.signal import butter, sosfiltfilt

    values, axis = _along_time(detrend(series))
    tr = series.attrs.get("repetition_time_s") if repetition_time_s is None else repetition_time_s
    if tr is None:
        raise InputError("the series does not carry its repetition time; give repetition_time_s in seconds.")
    nyquist = 0.5 / float(tr)
    if not 0 < low_hz < high_hz < nyquist:
        raise InputError(
            f"the band {low_hz:g} to {high_hz:g} Hz is not possible at a repetition time of {float(tr):g} "
            f"s; give 0 < low_hz < high_hz < {nyquist:g}."
        )
    sos = butter(order, (low_hz, high_hz), btype="bandpass", fs=1.0 / float(tr), output="sos")
    pad = 3 * (2 * len(sos) + 1)
    if len(values) <= pad:
        raise InputError(
            f"the series has {len(values)} volumes, but this filter needs more than {pad}; give a longer one."
        )
    there = _present(values)
    result = np.asarray(sosfiltfilt(sos, bridged(values, there), axis=0), dtype=np.float64)
    result[~there] = np.nan
    return _like(series, result, axis)


def bridged(values: Float, there: npt.NDArray[np.bool_]) -> Float:
    """Fill missing volumes by straight lines between their neighbours (at the ends: the next one there)."""
    if there.all():
        return values
    index = np.arange(len(values))
    after = np.searchsorted(index[there], index).clip(max=int(there.sum()) - 1)
    right = index[there][after]
    left = index[there][np.maximum(after - 1, 0)]
    left = np.where(there | (right < index), right, np.where(left <= index, left, right))
    gap = np.where(right > left, right - left, 1)
    share = np.clip((index - left) / gap, 0.0, 1.0).reshape(-1, *(1,) * (values.ndim - 1))
    return np.asarray((1 - share) * values[left] + share * values[right], dtype=np.float64)


def regress_global_signal(series: xr.DataArray) -> xr.DataArray:
    """Remove the mean over regions (the global signal) from every region by least squares; the mean stays.

    Reported beside the untreated series, never instead of it: the step is disputed because it makes
    correlations negative by construction.

    Raises
    ------
    InputError
        If the dimensions are not ``time`` and ``region``.

    References
    ----------
    Murphy, Fox, NeuroImage 154:169 (2017).

    Examples
    --------
    >>> x = xr.DataArray([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]], dims=("time", "region"))
    >>> bool(abs(regress_global_signal(x) - x.mean("time")).max() < 1e-12)
    True
    """
    if set(series.dims) != {"time", "region"}:
        raise InputError(
            f"the series has dimensions {tuple(str(d) for d in series.dims)}, but the global signal needs "
            "('time', 'region')."
        )
    values, axis = _along_time(series)
    there = _present(values)
    mean = values[there].mean(axis=0)
    glob = (values - mean).mean(axis=1)
    power = float(glob[there] @ glob[there])
    slope = glob[there] @ (values[there] - mean) / power if power > 0 else np.zeros(values.shape[1])
    return _like(series, values - np.outer(glob, slope), axis)
