"""Figures that describe one pass of the filter: how it forecast, and what happened on the way."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.assimilate.dhmda import Filtered
from twinbrain.assimilate.settings import Settings
from twinbrain.errors import InputError

__all__ = ["coverage", "diagnose", "plain_settings", "rank_histogram", "spread_error_ratio"]

_PHYSICAL = 0.3  # BOLD beyond 30 % signal change is not BOLD
_COLLAPSED = 1e-6  # standard deviation of the transformed drive below which an ensemble is one network
_DISCARD = 10  # repetition times at the start that do not count


def diagnose(
    filtered: Filtered,
    target: xr.DataArray,
    forecast: xr.DataArray,
    forecast_spread: xr.DataArray,
    inputs: tuple[str, ...],
    settings: Settings,
    extra: dict[str, Any],
) -> dict[str, float | str]:
    """Describe a pass of the filter in figures, for the record and for warnings; not for scores.

    Correlations leave out the first ten volumes, while the ensemble finds its way. Persistence, the recorded
    volume as a prediction of the next one, stands beside the forecast: it is often better, since the forecast
    comes from a corrected but noisy network.

    Parameters
    ----------
    filtered
        What the pass left behind.
    target, forecast, forecast_spread
        (time, region), fraction signal change.
    inputs
        Names of the series the inputs are observed by.
    settings, extra
        Recorded as ``setting_...``.

    Returns
    -------
    dict
        ``forecast_pcc_inputs``, ``persistence_pcc_inputs`` (means over inputs of Pearson's r; per input with
        the name in brackets), ``forecast_rmse_inputs`` (fraction signal change),
        ``forecast_spread_error_ratio`` (1 = the ensemble knows its error), ``share_at_bounds``,
        ``replaced_members``, ``warning`` (why the pass should not be trusted, or "none"), and the settings.

    Examples
    --------
    >>> region = {"dims": ("time", "region"), "coords": {"region": ["a"]}}
    >>> y = xr.DataArray(np.sin(np.arange(40.0))[:, None], **region)
    >>> spread, rows = xr.zeros_like(y) + 0.1, np.zeros((40, 1))
    >>> none = np.zeros((0, 3), dtype=np.int64)
    >>> done = Filtered(rows[:, None], rows, y.values, spread.values, rows, 0.0, none)
    >>> round(diagnose(done, y, y * 0.9, spread, ("a",), Settings(), {})["forecast_pcc_inputs"], 6)
    1.0
    """
    names = list(inputs)
    start = min(_DISCARD, max(0, target.sizes["time"] - 3))
    wanted = target.sel(region=names).values
    predicted = forecast.sel(region=names).values[start:]
    spread = forecast_spread.sel(region=names).values[start:]
    now, before = wanted[start:], np.vstack([np.full((1, len(names)), np.nan), wanted])[start:-1]
    pcc = [_pcc(predicted[:, j], now[:, j]) for j in range(len(names))]
    persistence = [_pcc(before[:, j], now[:, j]) for j in range(len(names))]
    error = (predicted - now)[np.isfinite(now)]
    rmse = float(np.sqrt(np.mean(error**2))) if error.size else float("nan")
    known = spread[np.isfinite(now)] ** 2
    expected = float(np.sqrt(np.mean(known) + settings.observation_variance)) if error.size else float("nan")
    result: dict[str, float | str] = {
        "note": "forecast figures describe one-step predictions inside the filter, corrected after every "
        "volume; they are no evidence of the drives: score a free run",
        "forecast_pcc_inputs": float(np.mean(pcc)) if pcc else float("nan"),
        "persistence_pcc_inputs": float(np.mean(persistence)) if pcc else float("nan"),
        "forecast_rmse_inputs": rmse,
        "forecast_spread_error_ratio": expected / rmse if rmse > 0 else float("nan"),
        "discarded_volumes": float(start),
        "share_at_bounds": filtered.at_bounds,
        "replaced_members": float(len(filtered.replaced)),
        "replaced": "; ".join(f"cycle {c}: member {m} by {d}" for c, m, d in filtered.replaced) or "none",
    }
    result["warning"] = _warning(predicted, filtered, start)
    result |= {f"forecast_pcc[{r}]": value for r, value in zip(inputs, pcc, strict=True)}
    result |= {f"persistence_pcc[{r}]": value for r, value in zip(inputs, persistence, strict=True)}
    return result | plain_settings(settings, extra)


def plain_settings(settings: Any, extra: dict[str, Any]) -> dict[str, float | str]:
    """Return the settings of a method as plain numbers and text, named ``setting_...``.

    Parameters
    ----------
    settings
        A dataclass of numbers; its ``bounds`` become two.
    extra
        More of them.

    Examples
    --------
    >>> plain_settings(Settings(min_members=5), {"neurons": "as given"})["setting_min_members"]
    5.0
    """
    result: dict[str, float | str] = {}
    for key, value in (asdict(settings) | extra).items():
        if key == "bounds":
            result |= {"setting_lower_bound": value[0], "setting_upper_bound": value[1]}
        elif value is None:
            result[f"setting_{key}"] = "default"
        else:
            result[f"setting_{key}"] = value if isinstance(value, str) else float(value)
    return result


def _pcc(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson correlation over the rows where both exist, NaN if one does not vary there."""
    both = np.isfinite(a) & np.isfinite(b)
    x, y = a[both], b[both]
    if len(x) < 3:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    power = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / power) if power > 0 else float("nan")


def _warning(predicted: NDArray[np.float64], filtered: Filtered, start: int) -> str:
    """Say in words what marks a filter that has lost the data."""
    said = []
    wild = float(np.mean(~(np.abs(predicted) < _PHYSICAL)))
    if wild > 0:
        said.append(
            f"{wild:.0%} of the forecasts of the inputs lie beyond +-{_PHYSICAL:g} (fraction signal change), where "
            "BOLD cannot be: the corrected Balloon states are not physical"
        )
    collapsed = float(np.mean(filtered.x[start:].std(axis=1) < _COLLAPSED))
    if collapsed > 0.1:
        said.append(f"the ensemble has no spread in {collapsed:.0%} of the volumes: it no longer listens to the data")
    if filtered.at_bounds > 0.1:
        said.append(f"{filtered.at_bounds:.0%} of the corrections ended at the bounds of the drive: widen the bounds")
    if not said:
        return "none"
    return "; ".join(said) + "; take more members or neurons, a longer lag, or other bounds"


def coverage(members: NDArray[np.float64], truth: NDArray[np.float64], level: float = 0.95) -> float:
    """Return the share of true values inside the central band of the ensemble, taken as normal.

    Parameters
    ----------
    members
        (member, ...) values.
    truth
        (...,) known values, NaN = not known.
    level
        Probability of the band, default 0.95.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((30, 5000))
    >>> 0.9 < coverage(x[1:], x[0]) < 0.97
    True
    """
    from scipy.stats import norm

    known = np.isfinite(truth)
    wide = norm.ppf(0.5 + level / 2) * members.std(axis=0, ddof=1)
    return float((np.abs(members.mean(axis=0) - truth) <= wide)[known].mean())


def spread_error_ratio(members: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return root mean square spread over root mean square error of the mean: 1 = honest, below 1 = overconfident.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((30, 5000))
    >>> round(spread_error_ratio(x[1:], x[0]), 1)
    1.0
    """
    known = np.isfinite(truth)
    error = (members.mean(axis=0) - truth)[known]
    return float(np.sqrt((members.var(axis=0, ddof=1)[known]).mean() / (error**2).mean()))


def rank_histogram(
    members: NDArray[np.float64], truth: NDArray[np.float64], bins: int = 6
) -> tuple[NDArray[np.int64], float]:
    """Count where the truth stands among the members, and test whether it stands anywhere equally often.

    Parameters
    ----------
    members
        (member, ...) values.
    truth
        (...,) known values. Neighbours in time share their errors: give every tenth volume or so, or the test
        takes a few errors for many.
    bins
        Number of bins the ranks 0 to E are put into, default 6; at least five values a bin are needed.

    Returns
    -------
    ndarray (bins,), float
        Counts, and the p-value of the chi-square test of a flat histogram.

    Raises
    ------
    InputError
        If there are too few values.

    References
    ----------
    Hamill: Interpretation of rank histograms for verifying ensemble forecasts. Monthly Weather Review 129 (2001)
    550-560.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((30, 600))
    >>> rank_histogram(x[1:], x[0])[1] > 1e-3, rank_histogram(x[1:], x[0] * 2)[1] > 1e-3
    (True, False)
    """
    from scipy.stats import chisquare

    known = np.isfinite(truth).ravel()
    flat = members.reshape(len(members), -1)[:, known]
    ranks = (flat < truth.ravel()[known]).sum(axis=0)
    edges = np.linspace(0, len(members) + 1, bins + 1)
    expected = np.diff(np.searchsorted(np.arange(len(members) + 1), edges)) / (len(members) + 1) * len(ranks)
    if expected.min() < 5:
        raise InputError(
            f"rank_histogram: found {len(ranks)} values for {bins} bins, expected at least {5 * bins}; give more "
            "values or fewer bins"
        )
    counts = np.histogram(ranks, bins=edges - 0.5)[0].astype(np.int64)
    return counts, float(chisquare(counts, expected).pvalue)
