"""Band-pass filtering of BOLD: the one definition used for targets, scores and nulls."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr

from twinbrain.analyse._numeric import bridge
from twinbrain.errors import InputError

__all__ = ["band_pass"]

Series = TypeVar("Series", np.ndarray, xr.DataArray)

_ORDER = 2
# sosfiltfilt pads each end by mirroring this many volumes (scipy's default for two second-order sections).
_PADDING = 3 * (2 * _ORDER + 1)


def band_pass(series: Series, repetition_time_s: float, band_hz: tuple[float, float] = (0.01, 0.1)) -> Series:
    """Keep the slow fluctuations of BOLD: linear detrending, then a Butterworth filter without phase shift.

    A Butterworth band-pass of order 2, written as second-order sections, runs over the series forwards and
    backwards, so the gain is the squared Butterworth gain (one quarter of the power, one half of the
    amplitude, at both corners) and no frequency is delayed.

    Parameters
    ----------
    series
        Array with time first, or DataArray with a dimension ``time``, any units; at least 17 volumes. Volumes that
        are NaN everywhere are missing: they are bridged linearly for the filter, and are NaN again after it.
    repetition_time_s
        Time between two volumes, s.
    band_hz
        Lower and upper corner, Hz; ``0 < low < high < 1 / (2 repetition_time_s)``. Default 0.01-0.1 Hz, the
        usual band of resting-state BOLD.

    Returns
    -------
    The filtered series, same type, shape, labels and units; its mean is near 0.

    Raises
    ------
    InputError
        If the band does not fit the repetition time or the series is too short.

    References
    ----------
    Biswal et al. (1995), Magnetic Resonance in Medicine 34:537, for the band; Gustafsson (1996), IEEE
    Transactions on Signal Processing 44:988, for filtering in both directions.

    Examples
    --------
    >>> t = np.arange(600) * 0.72
    >>> slow, fast = np.sin(2 * np.pi * 0.04 * t), np.sin(2 * np.pi * 0.4 * t)
    >>> kept = band_pass((slow + fast)[:, None], 0.72)[:, 0]
    >>> bool(np.corrcoef(kept[100:-100], slow[100:-100])[0, 1] > 0.999)
    True
    """
    if isinstance(series, xr.DataArray):
        if "time" not in series.dims:
            raise InputError(
                f"the series to filter has dimensions {tuple(series.dims)}, expected 'time' among them; name "
                "its time axis."
            )
        ordered = series.transpose("time", ...)
        filtered = ordered.copy(data=band_pass(ordered.to_numpy(), repetition_time_s, band_hz))
        return filtered.transpose(*series.dims)
    from scipy.signal import butter, detrend, sosfiltfilt  # slow to import, and not all of this room filters

    low, high = (float(edge) for edge in band_hz)
    if not repetition_time_s > 0:
        raise InputError(f"repetition_time_s is {repetition_time_s}, expected seconds above 0; give for example 0.72.")
    nyquist = 0.5 / repetition_time_s
    if not 0 < low < high < nyquist:
        raise InputError(
            f"band_hz is ({low:g}, {high:g}) Hz, expected 0 < low < high < {nyquist:g} Hz, the fastest "
            f"rhythm that volumes every {repetition_time_s:g} s can show; choose a band inside."
        )
    values = np.asarray(series, dtype=np.float64)
    if len(values) <= _PADDING + 1:
        raise InputError(
            f"the series to filter has {len(values)} volumes, expected at least {_PADDING + 2}; use a longer one."
        )
    there = np.asarray(~np.isnan(values.reshape(len(values), -1)).all(axis=1))
    if there.any() and not there.all():
        flat = values.reshape(len(values), -1)
        filtered = band_pass(bridge(flat, there), repetition_time_s, band_hz)
        return np.where(there[:, None], filtered, np.nan).reshape(values.shape)
    sections = butter(_ORDER, [low / nyquist, high / nyquist], btype="bandpass", output="sos")
    return np.asarray(sosfiltfilt(sections, detrend(values, axis=0, type="linear"), axis=0, padlen=_PADDING))
