"""Functional connectivity dynamics: how the pattern of correlations between regions changes and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse._measures import count, read_series, row, table, table_dict
from twinbrain.analyse._numeric import Floats, generator, standardise
from twinbrain.analyse.align import to_regions
from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.nulls import phase_randomise
from twinbrain.errors import InputError

__all__ = ["ConnectivityDynamics", "fcd_distance", "functional_connectivity_dynamics"]

_MIN_WINDOW = 10
_MIN_WINDOWS = 4
_MAX_NUMBERS = 3e8  # correlations held at a time: 2.4 GB


@dataclass(frozen=True, eq=False)
class ConnectivityDynamics:
    """Result of `functional_connectivity_dynamics`.

    Attributes
    ----------
    table
        Index ``measure``; columns ``value``, ``low``, ``high``, ``null_mean``, ``null_sd``, ``p_value``, ``note``.
    matrix
        Pearson correlation between the connectivity of every two windows, (window, other_window), both the time of
        the middle of the window in s.
    values
        The entries of ``matrix`` for windows that share no volume, (pair,): the distribution that is compared.
    null_values
        The same of each surrogate, (draw, pair).
    window_s, step_s
        Length of a window and time between two of them as used, s: whole volumes.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(400, 5))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(400) * 0.8, "region": list("ABCDE")})
    >>> functional_connectivity_dynamics(bold, nulls=5).matrix.dims
    ('window', 'other_window')
    """

    table: pd.DataFrame
    matrix: xr.DataArray
    values: xr.DataArray
    null_values: xr.DataArray
    window_s: float
    step_s: float

    def to_dict(self) -> dict[str, object]:
        """Figures ready for JSON; what is not defined is None."""
        return {
            "window_s": self.window_s,
            "step_s": self.step_s,
            "nulls": int(self.null_values.sizes["draw"]),
            "measures": table_dict(self.table),
        }


def functional_connectivity_dynamics(
    bold: xr.DataArray,
    *,
    window_s: float = 60.0,
    step_s: float | None = None,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    nulls: int = 100,
    seed: int = 0,
) -> ConnectivityDynamics:
    """Correlate the functional connectivity of sliding windows with one another.

    The upper triangle of the Pearson matrix of each window is one vector; entry (v, w) of the dynamics is the
    correlation of the vectors of windows v and w. Figures are taken over pairs of windows that share no volume, since
    overlapping windows are alike by construction: ``fcd_mean``, ``fcd_sd``, and ``ks_to_null``, the
    Kolmogorov-Smirnov distance of their values to the pooled values of all surrogates. Surrogates have the Fourier
    phases of all regions turned by the same angles: spectra and average connectivity stay, every change of
    connectivity over time is chance. Correlations of short windows fluctuate: only what surrogates do not show is
    dynamics of the brain. No figure changes with units, offsets or the order of the regions.

    Parameters
    ----------
    bold
        (time, region), any units, ``time`` in s; or (time, voxel), which is averaged by region first, see
        `to_regions`. At least 3 regions.
    window_s
        Length of a window, s, rounded to volumes. Default 60; shorter than ``1 / band_hz[0]`` mostly shows noise.
    step_s
        Time between the starts of two windows, s. Default: a tenth of the window.
    band_hz
        Band-pass filter before, Hz; None for no filter. Default 0.01-0.1.
    nulls
        Number of surrogates, 0 for none. Default 100.
    seed
        Key of the random numbers.

    Returns
    -------
    ConnectivityDynamics
        p-values by rank among the surrogates: two-sided for mean and sd, one-sided (a larger distance than that of
        one surrogate from the pool) for ``ks_to_null``. Windows are not independent, so no interval is given.

    Raises
    ------
    InputError
        If the recording holds too few windows, a region is constant in the whole or in one window, values are not
        finite, or the regions are too many to hold all correlations.

    References
    ----------
    Hansen et al. (2015), NeuroImage 105:525; Hindriks et al. (2016), NeuroImage 127:242 (surrogates).

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> x = rng.normal(size=(800, 12))
    >>> x[:400, :6] += 2 * rng.normal(size=(400, 1))  # first one half of the regions are coupled, then the other
    >>> x[400:, 6:] += 2 * rng.normal(size=(400, 1))
    >>> coords = {"time": np.arange(800) * 0.72, "region": list("ABCDEFGHIJKL")}
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords=coords)
    >>> float(functional_connectivity_dynamics(bold, band_hz=None, nulls=39).table.p_value["fcd_sd"])
    0.05
    """
    if isinstance(bold, xr.DataArray) and "voxel" in bold.dims:
        bold = to_regions(bold)
    what = "functional connectivity dynamics"
    series = read_series(bold, what, volumes=4 * _MIN_WINDOW, allowed=("region",))
    nulls = count(nulls, "nulls", least=0)
    generator(seed, 0)  # refuse a wrong seed before the work
    volumes, number = series.values.shape
    if not (np.isfinite(window_s) and window_s > 0) or not (step_s is None or (np.isfinite(step_s) and step_s > 0)):
        raise InputError(f"window_s is {window_s} and step_s is {step_s}, expected seconds above 0; give 60 and 6.")
    window = round(window_s / series.step_s)
    step = max(1, round((window_s / 10 if step_s is None else step_s) / series.step_s))
    starts = np.arange(0, volumes - window + 1, step)
    if number < 3 or window < _MIN_WINDOW or volumes < 2 * window or len(starts) < _MIN_WINDOWS:
        raise InputError(
            f"{what} has {number} regions and {len(starts)} windows of {window} volumes in {volumes}, expected "
            f"at least 3 regions, {_MIN_WINDOWS} windows of {_MIN_WINDOW} volumes and two that share none; choose "
            "another window_s or step_s, or record longer."
        )
    if len(starts) * number * (number - 1) / 2 > _MAX_NUMBERS:
        needed = len(starts) * number * (number - 1) * 4e-9
        raise InputError(
            f"{what} of {number} regions in {len(starts)} windows needs {needed:.1f} GB, "
            f" expected at most {_MAX_NUMBERS * 8e-9:.1f} GB; average voxels by region or take a longer step_s."
        )
    x = standardise(series.values)
    if band_hz is not None:
        x = band_pass(x, series.step_s, band_hz)
    flat = [name for s in starts for name in series.names[np.ptp(series.values[s : s + window], axis=0) == 0]]
    if flat:
        raise InputError(f"region '{flat[0]}' does not vary within one of the windows; leave it out or mend the gap.")
    matrix = _dynamics(x, starts, window)
    pairs = np.triu_indices(len(starts), int(np.ceil(window / step)))
    values = matrix[pairs]
    drawn = [_dynamics(phase_randomise(x, draw=d, seed=seed), starts, window)[pairs] for d in range(nulls)]
    null = np.array(drawn).reshape(nulls, len(values))
    suffix = "; null: phases randomised, FC kept" if nulls else ""
    over = f"over {len(values)} pairs of windows without common volumes"
    rows = {
        "fcd_mean": row(values.mean(), f"mean {over}{suffix}; p two-sided", null=null.mean(axis=1)),
        "fcd_sd": row(values.std(), f"standard deviation {over}{suffix}; p two-sided", null=null.std(axis=1)),
    }
    if nulls > 1:
        rows["ks_to_null"] = _distance_to_null(values, null)
    middle = series.times[starts] + (window - 1) * series.step_s / 2
    return ConnectivityDynamics(
        table=table(rows),
        matrix=xr.DataArray(
            matrix,
            dims=("window", "other_window"),
            coords={"window": middle, "other_window": middle},
            attrs={"units": "1", "long_name": "functional connectivity dynamics"},
        ),
        values=xr.DataArray(values, dims=("pair",), attrs={"units": "1"}),
        null_values=xr.DataArray(null, dims=("draw", "pair"), attrs={"units": "1"}),
        window_s=round(window * series.step_s, 9),
        step_s=round(step * series.step_s, 9),
    )


def fcd_distance(simulated: ConnectivityDynamics, recorded: ConnectivityDynamics) -> float:
    """Kolmogorov-Smirnov distance between the values of two connectivity dynamics.

    The largest difference between their cumulative distributions, 0 (same distribution) to 1. Windows of the same
    length are needed, because values depend on it; the recordings may differ in length and the brains in regions.

    Parameters
    ----------
    simulated, recorded
        Results of `functional_connectivity_dynamics`.

    Returns
    -------
    Distance, no units; the order of the two does not matter.

    Raises
    ------
    InputError
        If their windows differ by more than 2 %.

    References
    ----------
    Deco et al. (2017), Sci. Rep. 7:3095.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(400, 5))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(400) * 0.8, "region": list("ABCDE")})
    >>> found = functional_connectivity_dynamics(bold, nulls=0)
    >>> fcd_distance(found, found)
    0.0
    """
    if abs(simulated.window_s - recorded.window_s) > 0.02 * recorded.window_s:
        raise InputError(
            f"the windows of the two connectivity dynamics are {simulated.window_s:g} s and {recorded.window_s:g} s, "
            "expected the same length; compute both with the same window_s."
        )
    return ks_distance(simulated.values.to_numpy(), np.sort(recorded.values.to_numpy()))


def ks_distance(one: Floats, others: Floats, *, without_itself: bool = False) -> float:
    """Largest distance between two distribution functions; ``others`` sorted, less ``one`` if that is part of it.

    Between two values of ``one`` its function is level and the other can only rise, so the largest distance is found
    just before or at a value of ``one``.
    """
    one = np.sort(one)
    number = len(others) - (len(one) if without_itself else 0)
    largest = 0.0
    sides: tuple[Literal["left"], Literal["right"]] = ("left", "right")
    for side in sides:
        own = np.searchsorted(one, one, side=side)
        rest = np.searchsorted(others, one, side=side) - (own if without_itself else 0)
        largest = max(largest, float(np.abs(own / len(one) - rest / number).max()))
    return largest


def _distance_to_null(values: Floats, null: Floats) -> dict[str, float | str]:
    """KS distance of the data to the pooled surrogates, and of each surrogate to the pool of the others."""
    pool = np.sort(null.ravel())
    value = ks_distance(values, pool)
    distances = np.array([ks_distance(one, pool, without_itself=True) for one in null])
    found = row(value, "KS distance of the values to those of all surrogates; p one-sided", null=distances)
    found["p_value"] = float((1 + (distances >= value).sum()) / (1 + len(distances)))
    return found


def _dynamics(x: Floats, starts: np.ndarray, window: int) -> Floats:
    """Correlation between the upper triangles of the correlation matrices of all windows."""
    upper = np.triu_indices(x.shape[1], 1)
    vectors = np.empty((len(upper[0]), len(starts)))
    for k, start in enumerate(starts):
        part = x[start : start + window]
        part = part - part.mean(axis=0)
        part /= np.sqrt((part**2).sum(axis=0))
        vectors[:, k] = (part.T @ part)[upper]
    vectors -= vectors.mean(axis=0)
    vectors /= np.maximum(np.sqrt((vectors**2).sum(axis=0)), np.finfo(np.float64).tiny)
    return np.asarray(np.clip(vectors.T @ vectors, -1.0, 1.0))
