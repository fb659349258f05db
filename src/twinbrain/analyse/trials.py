"""What a region answered to each trial: single-trial responses of recorded or simulated BOLD."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse._measures import read_series
from twinbrain.analyse._numeric import Floats, standardise
from twinbrain.errors import InputError

__all__ = ["trial_responses", "usable_trials"]

_LEAST = 20  # volumes


def usable_trials(events: pd.DataFrame, duration_s: float, window_s: tuple[float, float] = (4.0, 8.0)) -> pd.DataFrame:
    """Keep the events whose response ends before the recording does.

    Parameters
    ----------
    events
        Table with ``onset`` in s.
    duration_s
        Time of the last sample, s.
    window_s
        Begin and end of the response after the onset, s.

    Returns
    -------
    pandas.DataFrame
        Rows with ``0 <= onset`` and ``onset + window_s[1] <= duration_s``, index kept.

    Examples
    --------
    >>> usable_trials(pd.DataFrame({"onset": [0.0, 50.0, 95.0]}), 100.0).index.tolist()
    [0, 1]
    """
    onset = events["onset"].to_numpy(np.float64)
    return events[(onset >= 0) & (onset + window_s[1] <= duration_s + 1e-9)]


def trial_responses(
    bold: xr.DataArray,
    events: pd.DataFrame,
    *,
    method: Literal["betas", "window"] = "betas",
    window_s: tuple[float, float] = (4.0, 8.0),
    nuisance: pd.DataFrame | None = None,
    high_pass_hz: float = 1 / 128,
) -> xr.DataArray:
    """Estimate the response of each region to each trial.

    The series is standardised, so that recording and simulation have the same unit. ``"betas"`` (least squares
    separate): for every trial k a regression of its own,

    ``y = b_k h_k + c sum_{j != k} h_j + nuisance + drift``,

    with h_j trial j (onset, duration) convolved with the canonical haemodynamic response (Glover 1999, as nilearn has
    it), one regressor per kind of nuisance event, and slow cosines up to ``high_pass_hz``; b_k is the response.
    ``"window"``: the mean over the samples from ``window_s[0]`` to ``window_s[1]`` after the onset, drift removed.

    Parameters
    ----------
    bold
        (time, region) or (time, voxel), ``time`` in s on the clock of the events; any units.
    events
        One row per trial: ``onset`` and, for betas, ``duration``, s.
    method
        ``"betas"`` (default) or ``"window"``.
    window_s
        Begin and end of the window after the onset, s. Default 4 to 8. Also for betas a trial's window must end before
        the recording does.
    nuisance
        Other events, not of interest: ``onset``, ``duration`` and, if there are several kinds, ``trial_type``.
    high_pass_hz
        Drifts slower than this are removed, Hz; 0 removes the mean only. Default 1/128.

    Returns
    -------
    xarray.DataArray
        (trial, region), coordinate ``onset`` (trial) in s; standard deviations of the series.

    Raises
    ------
    InputError
        If the series cannot be used, or a trial does not fit into it.

    References
    ----------
    Mumford, Turner, Ashby, Poldrack (2012), NeuroImage 59:2636; Glover (1999), NeuroImage 9:416.

    Examples
    --------
    >>> from nilearn.glm.first_level.hemodynamic_models import compute_regressor
    >>> events = pd.DataFrame({"onset": 10.0 + 14.0 * np.arange(12), "duration": 2.0})
    >>> size, time = np.arange(12.0) % 5, np.arange(230) * 0.8
    >>> y = compute_regressor((events.onset, events.duration, size), "glover", time)[0]
    >>> y = xr.DataArray(y, dims=("time", "region"), coords={"time": time, "region": ["A"]})
    >>> found = trial_responses(y, events)
    >>> bool(np.corrcoef(found.sel(region="A"), size)[0, 1] > 0.98)
    True
    """
    data = read_series(bold, "a trial's response", volumes=_LEAST)
    if method not in ("betas", "window"):
        raise InputError(f"method is '{method}', expected 'betas' or 'window'; choose one.")
    if not 0 <= window_s[0] < window_s[1]:
        raise InputError(f"window_s is {window_s}, expected 0 <= begin < end in s; give for example (4, 8).")
    needed = ("onset", "duration") if method == "betas" else ("onset",)
    onset = _column(events, "onset", "events", needed)
    if len(onset) < 2:
        raise InputError(f"events: {len(onset)} trials were found, expected at least 2; give one row per trial.")
    late = (onset < data.times[0] - 1e-9) | (onset + window_s[1] > data.times[-1] + 1e-9)
    if late.any():
        k = int(np.flatnonzero(late)[0])
        raise InputError(
            f"events: trial {k} begins at {onset[k]:g} s and is read until {onset[k] + window_s[1]:g} s, but the "
            f"series goes from {data.times[0]:g} to {data.times[-1]:g} s; leave it out (see usable_trials)."
        )
    y = standardise(data.values)
    rest = [_drift(data.times, high_pass_hz)]
    if nuisance is not None and len(nuisance):
        rest.append(_nuisance(nuisance, data.times))
    y, projector = _without(y, np.hstack(rest))
    if method == "window":
        inside = [(data.times >= t + window_s[0] - 1e-9) & (data.times <= t + window_s[1] + 1e-9) for t in onset]
        if not all(which.any() for which in inside):
            raise InputError(
                f"window_s is {window_s}, but a volume every {data.step_s:g} s leaves it empty; widen the window."
            )
        found = np.stack([y[which].mean(axis=0) for which in inside])
    else:
        found = _separate(y, projector, _regressors(onset, _column(events, "duration", "events", needed), data.times))
    return xr.DataArray(
        found,
        dims=("trial", data.dim),
        coords={"trial": np.arange(len(onset)), data.dim: data.names, "onset": ("trial", onset, {"units": "s"})},
        attrs={"units": "standard deviations", "method": method},
    )


def _column(table: pd.DataFrame, name: str, what: str, needed: tuple[str, ...]) -> Floats:
    for column in needed:
        if column not in table.columns:
            raise InputError(f"{what}: the column '{column}' is missing; give {' and '.join(needed)} in s.")
    values = table[name].to_numpy(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"{what}: {name} of row {row} is {values[row]}, expected seconds; leave the row out.")
    return values


def _regressors(onset: Floats, duration: Floats, times: Floats) -> Floats:
    """One column per event, convolved with the canonical response."""
    from nilearn.glm.first_level.hemodynamic_models import compute_regressor  # slow to import

    columns = [
        compute_regressor(np.array([[t], [d], [1.0]]), "glover", times)[0][:, 0]
        for t, d in zip(onset, duration, strict=True)
    ]
    return np.stack(columns, axis=1)


def _nuisance(events: pd.DataFrame, times: Floats) -> Floats:
    onset = _column(events, "onset", "nuisance", ("onset", "duration"))
    each = _regressors(onset, _column(events, "duration", "nuisance", ("onset", "duration")), times)
    kinds = events["trial_type"].to_numpy() if "trial_type" in events.columns else np.zeros(len(events))
    return np.stack([each[:, kinds == kind].sum(axis=1) for kind in pd.unique(kinds)], axis=1)


def _drift(times: Floats, high_pass_hz: float) -> Floats:
    """Constant and cosines with less than ``high_pass_hz``, as columns."""
    n = len(times)
    length = n * (times[1] - times[0])
    order = int(np.floor(2 * length * high_pass_hz))
    at = (np.arange(n) + 0.5) / n
    return np.stack([np.cos(np.pi * k * at) for k in range(order + 1)], axis=1)


def _without(y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Remove from y what the columns of x explain; also return an orthonormal basis of them."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    basis = u[:, s > 1e-10 * s[0]]
    return y - basis @ (basis.T @ y), basis


def _separate(y: Floats, basis: Floats, each: Floats) -> Floats:
    """Regress on one trial and the sum of the others, for every trial; all is free of the nuisance already."""
    each = each - basis @ (basis.T @ each)
    total = each.sum(axis=1)
    found = np.empty((each.shape[1], y.shape[1]))
    for k in range(each.shape[1]):
        x = np.stack([each[:, k], total - each[:, k]], axis=1)
        found[k] = np.linalg.lstsq(x, y, rcond=None)[0][0]
    return found
