"""Series that keep some property of the data and destroy the rest: what a score must be compared with."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats, generator
from twinbrain.errors import InputError

__all__ = ["block_bootstrap_indices", "phase_randomise", "time_shift"]

Series = TypeVar("Series", np.ndarray, xr.DataArray)

# second half of the random key: one number per use of the seed
_PHASES, _BLOCKS = 1, 2


def phase_randomise(series: Series, *, keep_fc: bool = True, draw: int = 0, seed: int = 0) -> Series:
    """Replace the Fourier phases by random ones: same spectra, another course in time.

    With ``keep_fc`` every region is turned by the same random angle at each frequency, which leaves all
    cross-spectra and so all correlations between regions unchanged; without it each region gets its own
    angles and correlations vanish. Mean and, for an even number of volumes, the fastest frequency are left
    alone, since they have no free phase.

    Parameters
    ----------
    series
        Array with time first, (time,) or (time, region), or DataArray with a dimension ``time``; any units.
    keep_fc
        Whether the correlations between regions are kept. Default True.
    draw
        Which of the many surrogates of one seed. Default 0.
    seed
        Key of the random numbers.

    Returns
    -------
    The surrogate: same type, shape, labels and units.

    Raises
    ------
    InputError
        If there are fewer than 4 volumes, the values are not finite, or the seed is no whole number from 0.

    References
    ----------
    Theiler et al. (1992), Physica D 58:77; Prichard & Theiler (1994), Phys. Rev. Lett. 73:951 (common
    phases).

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(200, 3))
    >>> y = phase_randomise(x, seed=2)
    >>> bool(np.allclose(np.corrcoef(x.T), np.corrcoef(y.T))), bool(np.allclose(x, y))
    (True, False)
    """
    if isinstance(series, xr.DataArray):
        ordered = _time_first(series)
        data = phase_randomise(ordered.to_numpy(), keep_fc=keep_fc, draw=draw, seed=seed)
        return ordered.copy(data=data).transpose(*series.dims)
    values: Floats = np.asarray(series, dtype=np.float64)
    n = len(values)
    if n < 4 or not np.isfinite(values).all():
        raise InputError(
            f"the series to randomise has {n} volumes and {int((~np.isfinite(values)).sum())} values that "
            "are not finite, expected at least 4 volumes, all finite; cut or interpolate it."
        )
    if isinstance(draw, bool) or not isinstance(draw, (int, np.integer)) or not 0 <= draw < 2**32:
        raise InputError(f"draw is {draw!r}, expected a whole number from 0; number the surrogates 0, 1, 2.")
    spectrum = np.fft.rfft(values, axis=0)
    free = (n - 1) // 2  # frequencies with a phase of their own
    shape = (free, *[1] * (values.ndim - 1)) if keep_fc else (free, *values.shape[1:])
    angles = generator(seed, _PHASES + (draw << 8)).uniform(0.0, 2.0 * np.pi, size=shape)
    spectrum[1 : free + 1] *= np.exp(1j * angles)
    return np.asarray(np.fft.irfft(spectrum, n=n, axis=0))


def time_shift(series: Series, volumes: int) -> Series:
    """Shift a series in a circle: each region keeps its values and their order, only the start moves.

    Parameters
    ----------
    series
        Array with time first, or DataArray with a dimension ``time``; any units. Time labels stay in place.
    volumes
        How many volumes later every value comes; negative for earlier. What leaves at one end enters at the
        other.

    Returns
    -------
    The shifted series, same type, shape, labels and units.

    Examples
    --------
    >>> time_shift(np.array([1, 2, 3, 4]), 1).tolist()
    [4, 1, 2, 3]
    """
    if isinstance(series, xr.DataArray):
        ordered = _time_first(series)
        return ordered.copy(data=np.roll(ordered.to_numpy(), volumes, axis=0)).transpose(*series.dims)
    return np.roll(series, volumes, axis=0)


def block_bootstrap_indices(volumes: int, block: int, draws: int, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Draw time indices in blocks, so that resampled series keep their memory up to the block's length.

    Circular block bootstrap: ``ceil(volumes / block)`` starts are drawn uniformly, each is followed by the
    ``block`` volumes from there on (the first volume follows the last), and the row is cut to ``volumes``.
    Every volume is equally likely.

    Parameters
    ----------
    volumes
        Length of the series.
    block
        Volumes per block, 1 to ``volumes``; choose it longer than the memory of the series (30 s for BOLD).
    draws
        Number of resamplings.
    seed
        Key of the random numbers.

    Returns
    -------
    int64 array (draws, volumes) of indices from 0.

    Raises
    ------
    InputError
        If the numbers do not fit together.

    References
    ----------
    Politis & Romano (1992), in: Exploring the Limits of Bootstrap, Wiley, p. 263.

    Examples
    --------
    >>> i = block_bootstrap_indices(10, 5, 2, seed=3)
    >>> i.shape, bool((np.diff(i[:, :5]) % 10 == 1).all())
    ((2, 10), True)
    """
    if volumes < 1 or draws < 1 or not 1 <= block <= volumes:
        raise InputError(
            f"block bootstrap got volumes={volumes}, block={block}, draws={draws}, expected draws >= 1 and 1 "
            "<= block <= volumes; shorten the block."
        )
    count = -(-volumes // block)
    starts = generator(seed, _BLOCKS).integers(0, volumes, size=(draws, count))
    rows = (starts[:, :, None] + np.arange(block)) % volumes
    return np.asarray(rows.reshape(draws, count * block)[:, :volumes], dtype=np.int64)


def _time_first(series: xr.DataArray) -> xr.DataArray:
    if "time" not in series.dims:
        raise InputError(
            f"the series has dimensions {tuple(series.dims)}, expected 'time' among them; name its time axis."
        )
    return series.transpose("time", ...)
