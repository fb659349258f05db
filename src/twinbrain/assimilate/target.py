"""What the filter is asked to reproduce: recorded BOLD, cleaned and placed within the model's reach."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest

__all__ = ["observations", "repetition_time"]

_log = logging.getLogger(__name__)

_MIN_VOLUMES = 10


def repetition_time(bold: xr.DataArray) -> float:
    """Return the repetition time of recorded BOLD in seconds.

    Parameters
    ----------
    bold
        Recorded BOLD with ``attrs["repetition_time_s"]``.

    Raises
    ------
    InputError
        If the attribute is missing or is no positive number of seconds.

    Examples
    --------
    >>> repetition_time(xr.DataArray([1.0], attrs={"repetition_time_s": 0.72}))
    0.72
    """
    found = bold.attrs.get("repetition_time_s")
    try:
        seconds = math.nan if found is None else float(found)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and 0 < seconds < 100):
        raise InputError(
            f"bold: attrs['repetition_time_s'] is {found!r}, expected the time between volumes in seconds "
            "(above 0, below 100); set it, for example bold.attrs['repetition_time_s'] = 0.72"
        )
    return seconds


def observations(
    bold: xr.DataArray,
    *,
    first_volume: int = 0,
    volumes: int | None = None,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    mean: float = 0.022,
    scale: float = 0.004,
    clip: float = 3.5,
    window: tuple[float, float] | None = None,
    standardise: bool = True,
    required: Sequence[str] | None = None,
) -> xr.DataArray:
    r"""Turn recorded BOLD into observations on the scale of the model's BOLD.

    Each region is detrended and band-passed over the whole run (second-order Butterworth, forwards and
    backwards), cut to the chosen volumes and standardised to z; then

    .. math:: y = \text{mean} + \text{scale} \cdot \max(-3.5, \min(3.5, z)).

    The defaults ask for 3 to 15 Hz in the model. Volumes that are NaN stay NaN (bridged linearly for the
    band-pass only): the filter treats them as missing.

    Parameters
    ----------
    bold
        (time, region), any unit, ``attrs["repetition_time_s"]`` in seconds.
    first_volume, volumes
        The stretch used; default: all volumes.
    band_hz
        Pass band in Hz, None for no filter (and no detrending).
    mean, scale
        BOLD (fraction signal change) at z = 0, and per unit of z; defaults 0.022 and 0.004.
    clip
        Largest \|z\| kept, default 3.5.
    window
        Published alternative: ``(lowest, highest)`` BOLD, for example (0.02, 0.05), on which the smallest and
        the largest z of all required regions and volumes are placed. One outlier then compresses all signals.
    standardise
        False takes the recording as it is: BOLD of a model, already a fraction of the resting signal (0 to 0.2), for
        which level and amplitude of each region mean something. Then without band-pass, scale and clipping.
    required
        Regions that must be usable, default all. Any other without a signal becomes NaN, with a warning.

    Returns
    -------
    xarray.DataArray
        (time, region) float64; ``time`` in s on the clock of ``bold`` (its own coordinate, else from its first
        volume), so that a run of the fit can be compared with the recording; unit: fraction signal change.

    Raises
    ------
    InputError
        If dimensions, repetition time, band, volumes or a (named) required region cannot be used.

    References
    ----------
    The min-max window: Lu et al., digital twin brain assimilation code, 2022-2023 (OpenDTB, Apache-2.0).

    Examples
    --------
    >>> x = xr.DataArray(np.random.default_rng(0).standard_normal((200, 1)), dims=("time", "region"),
    ...     coords={"region": ["Thalamus_L"]}, attrs={"repetition_time_s": 0.8, "units": "1"})
    >>> y = observations(x, volumes=100)
    >>> y.shape, round(float(y.mean()), 4), round(float(y.std()), 4)
    ((100, 1), 0.022, 0.004)
    """
    if not isinstance(bold, xr.DataArray):
        raise InputError(
            f"bold: found a {type(bold).__name__}, expected one run as an xarray.DataArray (time, region) with region "
            "names, for instance person.bold['rest']"
        )
    if set(bold.dims) != {"time", "region"} or "region" not in bold.coords:
        raise InputError(
            f"bold: found the dimensions {tuple(bold.dims)}, expected 'time' and 'region' with region names; "
            "name them with xarray.DataArray(x, dims=('time', 'region'), coords={'region': names})"
        )
    tr = repetition_time(bold)
    names = [str(r) for r in bold["region"].values]
    series = np.array(bold.transpose("time", "region").values, dtype=np.float64, order="C")
    series[np.isinf(series)] = np.nan
    must = names if required is None else [str(r) for r in required]
    _check_names(must, names)
    cut = _stretch(len(series), first_volume, volumes)
    _check_scaling(mean, scale, clip, window)
    unusable = _unusable(series[cut])
    for j, why in unusable.items():
        if names[j] in must:
            raise InputError(
                f"bold: region '{names[j]}' {why}, expected a signal that varies; "
                "leave the region out of the inputs or repair its time series"
            )
        _log.warning("bold: region '%s' %s; it has no target", names[j], why)
        series[:, j] = np.nan
    z = _standardise(_band_pass(series, tr, band_hz if standardise else None)[cut])
    if not standardise:
        y = _as_given(series[cut], [names.index(r) for r in must])
    elif window is None:
        y = mean + scale * np.clip(z, -clip, clip)
    else:
        chosen = z[:, [names.index(r) for r in must]]
        low, high = np.nanmin(chosen), np.nanmax(chosen)
        y = window[0] + (window[1] - window[0]) * (z - low) / (high - low)
    clock = bold["time"].values if "time" in bold.coords else np.arange(len(series)) * tr
    return xr.DataArray(
        y,
        dims=("time", "region"),
        coords={"time": np.asarray(clock, np.float64)[cut], "region": names},
        name="target",
        attrs={"units": "fraction signal change", "repetition_time_s": tr, "first_volume": cut.start},
    )


def _as_given(series: NDArray[np.float64], must: list[int]) -> NDArray[np.float64]:
    level = np.nanmean(series[:, must], axis=0)
    if not ((level > -0.05) & (level < 0.2)).all():
        raise InputError(
            f"bold: with standardise=False its level is {level[np.abs(level).argmax()]:.3g}, expected a fraction of "
            "the resting signal between -0.05 and 0.2, as a model gives it; use standardise=True for recorded BOLD"
        )
    return series


def _check_names(must: Sequence[str], names: Sequence[str]) -> None:
    for region in must:
        if region not in names:
            raise InputError(
                f"bold: no region is called '{region}' among its {len(names)} regions, expected every input"
                f"{nearest(region, names)}; correct the name"
            )


def _check_scaling(mean: float, scale: float, clip: float, window: tuple[float, float] | None) -> None:
    for name, value in (("target_mean", mean), ("target_scale", scale), ("clip", clip)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: found {value:g}, expected a number > 0; the defaults are 0.022, 0.004 and 3.5")
    if window is not None and not (0 <= window[0] < window[1] < 1):
        raise InputError(
            f"target window: found {tuple(window)}, expected two rising BOLD values between 0 and 1; "
            "the published window is (0.02, 0.05)"
        )


def _stretch(total: int, first: int, volumes: int | None) -> slice:
    count = total - first if volumes is None else volumes
    if first < 0 or count < _MIN_VOLUMES or first + count > total:
        raise InputError(
            f"bold: asked for {count} volumes from volume {first} on, but the run has {total}, and at least "
            f"{_MIN_VOLUMES} are needed; change first_volume or volumes"
        )
    return slice(first, first + count)


def _unusable(series: NDArray[np.float64]) -> dict[int, str]:
    """Column -> what is wrong with it, for the columns that hold no usable signal."""
    wrong = {}
    for j, column in enumerate(series.T):
        missing = np.isnan(column)
        if missing.all():
            wrong[j] = "is NaN in every volume"
        elif 2 * missing.sum() > len(column):
            wrong[j] = f"is NaN in {int(missing.sum())} of {len(column)} volumes (more than half)"
        elif np.ptp(column[~missing]) <= 1e-12 * np.abs(column[~missing]).max():
            wrong[j] = f"is constant ({column[~missing][0]:g})"
    return wrong


def _band_pass(series: NDArray[np.float64], tr: float, band: tuple[float, float] | None) -> NDArray[np.float64]:
    if band is None:
        return series
    low, high = band
    nyquist = 0.5 / tr
    if not 0 < low < high < nyquist:
        raise InputError(
            f"band_hz: found ({low:g}, {high:g}) Hz, expected two rising frequencies between 0 and "
            f"{nyquist:.4g} Hz, half the sampling rate at a repetition time of {tr:g} s; "
            "change the band or give None"
        )
    from scipy.signal import butter, detrend, sosfiltfilt

    sos = butter(2, [low, high], btype="bandpass", fs=1 / tr, output="sos")
    result = np.full_like(series, np.nan)
    index = np.arange(len(series))
    padding = min(len(series) - 1, 15)
    for j, column in enumerate(series.T):
        there = ~np.isnan(column)
        if there.any():
            bridged = detrend(np.interp(index, index[there], column[there]))
            result[there, j] = sosfiltfilt(sos, bridged, padlen=padding)[there]
    return result


def _standardise(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and standard deviation 1 per column, each by itself, so that neighbours cannot change a bit."""
    result = np.full_like(series, np.nan)
    for j, column in enumerate(np.ascontiguousarray(series.T)):
        there = ~np.isnan(column)
        if there.any():
            result[there, j] = (column[there] - column[there].mean()) / column[there].std()
    return result
