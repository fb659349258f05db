"""Granger causality: whose past improves the prediction of whom, given everybody else's past."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from twinbrain.analyse._numeric import Floats, generator, json_ready
from twinbrain.analyse.nulls import phase_randomise
from twinbrain.analyse.var import Autoregression, bic_of_orders, check_channels, check_length, fit_autoregression
from twinbrain.errors import InputError

__all__ = ["Granger", "granger"]

_SHIFTS, _PHASES = 33, 34  # second half of the random key


@dataclass(frozen=True, eq=False)
class Granger:
    """Directed influence between all pairs of channels; made by :func:`granger`.

    Attributes
    ----------
    F
        (target, source) Granger causality, natural logarithm (nats); NaN on the diagonal, here and below.
    low, high
        (target, source) 95 % interval of F.
    statistic
        (target, source) F statistic of the hypothesis "no influence", 1.
    p, q
        (target, source) its p-value, and the smallest false discovery rate at which it counts as found.
    order
        Lags of the model, volumes.
    bic
        (order,) criterion the order was chosen by; None if the order was given.
    degrees_of_freedom
        Of the F statistic: lags, and residual degrees of freedom.
    conditional
        Whether the past of all other channels was given.
    spectra
        (frequency, target, source) causality by frequency, Hz (cycles per volume without times), nats; its plain mean
        over ``frequency`` is ``F_of_model``, see the notes of :func:`granger`. None unless asked for.
    F_of_model
        (target, source) causality of all frequencies, from the same model as the spectra; estimates what F does.
    null_mean, null_sd, null_p
        (target, source) mean and deviation of F over the surrogates, and the share of them that reach F, counting
        the data as one; None without surrogates.
    null
        Kind of surrogates, or None.
    F_of_null
        (draw, target, source) F of each surrogate, nats; None without.

    Examples
    --------
    >>> from twinbrain.analyse.var import run_autoregression
    >>> x = run_autoregression([[[0.5, 0.0], [0.4, 0.5]]], [[1.0, 0.0], [0.0, 1.0]], 500, seed=1)
    >>> found = granger(xr.DataArray(x, dims=("time", "region"), coords={"region": ["A", "B"]}))
    >>> found
    Granger: 2 channels, order 1, conditional, 1 of 2 directions at q < 0.05
    >>> bool(found.q.sel(target="B", source="A") < 0.001)
    True
    """

    F: xr.DataArray
    low: xr.DataArray
    high: xr.DataArray
    statistic: xr.DataArray
    p: xr.DataArray
    q: xr.DataArray
    order: int
    bic: xr.DataArray | None
    degrees_of_freedom: tuple[int, int]
    conditional: bool
    spectra: xr.DataArray | None = None
    F_of_model: xr.DataArray | None = None
    null_mean: xr.DataArray | None = None
    null_sd: xr.DataArray | None = None
    null_p: xr.DataArray | None = None
    null: str | None = None
    F_of_null: xr.DataArray | None = None

    @property
    def table(self) -> pd.DataFrame:
        """One row per direction, index ``measure`` ("A -> B"): value (F), low, high, null_mean, null_sd, p_value, note.

        ``p_value`` is that of the F test; the note holds the order and q.
        """
        targets, sources = np.nonzero(np.isfinite(self.F.values))
        names = [str(name) for name in self.F["target"].values]

        def column(array: xr.DataArray | None) -> Floats:
            return np.full(len(targets), np.nan) if array is None else array.values[targets, sources]

        rows = {
            "value": column(self.F),
            "low": column(self.low),
            "high": column(self.high),
            "null_mean": column(self.null_mean),
            "null_sd": column(self.null_sd),
            "p_value": column(self.p),
            "note": [f"F test of {self.order} lags, one-sided; q = {q:.3g}" for q in column(self.q)],
        }
        index = pd.Index([f"{names[j]} -> {names[i]}" for i, j in zip(targets, sources, strict=True)], name="measure")
        return pd.DataFrame(rows, index=index)

    def to_dict(self) -> dict[str, Any]:
        """Copy the numbers for JSON: order, kind, and per direction F, interval, p, q and the null's p."""
        pairs = self.table.drop(columns="note")
        targets, sources = np.nonzero(np.isfinite(self.F.values))
        pairs["q_value"] = self.q.values[targets, sources]
        pairs["null_p"] = np.nan if self.null_p is None else self.null_p.values[targets, sources]
        return dict(
            json_ready(
                {
                    "order": self.order,
                    "conditional": self.conditional,
                    "degrees_of_freedom": self.degrees_of_freedom,
                    "null": self.null,
                    "directions": {name: dict(row) for name, row in pairs.iterrows()},
                }
            )
        )

    def __repr__(self) -> str:
        n = self.F.sizes["target"]
        kind = "conditional" if self.conditional else "pairwise"
        found = int((self.q < 0.05).sum())
        return f"Granger: {n} channels, order {self.order}, {kind}, {found} of {n * (n - 1)} directions at q < 0.05"


def granger(
    series: xr.DataArray,
    *,
    order: int | Literal["bic"] = "bic",
    max_order: int = 10,
    conditional: bool = True,
    frequencies: int = 0,
    nulls: int = 0,
    null: Literal["phase", "shift"] = "phase",
    seed: int = 0,
) -> Granger:
    """Ask of every pair of channels whether the past of one helps to predict the other.

    With z all other channels, y is predicted by least squares from p past volumes of y, z and x (full) and of y and
    z alone (restricted)::

        F_{x->y|z} = ln(RSS_restricted / RSS_full),

    tested by the F statistic ``((RSS_r - RSS_f) / p) / (RSS_f / (T - p - n p - 1))`` with p and T - p - n p - 1
    degrees of freedom; q by Benjamini & Hochberg over all directions. One factorisation of the full model gives all
    restricted ones. Without ``conditional`` each pair is modelled alone (n = 2 above).

    By frequency (Geweke), for the innovations r of the restricted model and e of the full one::

        f_{x->y|z}(w) = ln( var r_y / (var e_y |Q(w)|^2) ),

    where Q is the transfer from e_y, with what e_z and e_x share with it, to r_y; the denominator is the share of
    r_y that would be there without x. The restricted model is not fitted but follows exactly from the full one: the
    p past values of x become the hidden state of a state-space model, whose Riccati equation is solved. So no
    causality is below 0, as can happen when both models are fitted.

    Parameters
    ----------
    series
        (time, channel), the second dimension of any name (``region``, ``input``), any units, evenly sampled; ``time``
        in s if there are times.
    order
        Lags in volumes, or ``"bic"`` (default): the order with the smallest Bayesian criterion; for pairs, the
        smallest sum of the pairs' criteria.
    max_order
        Largest order tried. Default 10.
    conditional
        Whether to give all other channels' past; else pairs alone, which mistakes common drivers and chains for
        influence. Default True.
    frequencies
        Number of frequencies of the spectra, the centres of equal bins from 0 to half the sampling rate; 0 (default)
        for none. 128 or more makes their mean exact to many digits.
    nulls
        Number of surrogates. Default 0.
    null
        ``"phase"``: Fourier phases of each channel randomised on their own; ``"shift"``: each channel turned in time
        by its own random number of volumes. Both keep each spectrum and cut all relations. Order as for the data.
    seed
        Key of the random numbers.

    Returns
    -------
    Granger

    Raises
    ------
    InputError
        If the series is too short for the order, not evenly sampled, constant, not finite, has dependent channels or
        trends (a model that is not stationary).

    Notes
    -----
    The mean of a spectrum over frequency equals ``ln(var r_y / var e_y)``, given as ``F_of_model``, if Q has no zero
    inside the unit circle (Geweke's condition), else it is smaller. The condition fails where only the others keep x
    from running away, or where noise is strongly shared: in 5 of 200 random models with independent noise and 14 of
    200 with shared noise. F estimates the same number but fits the restricted model anew with p lags; that model needs
    more of them, above all if x is rhythmic, so F is then too large (0.61 for a true 0.49 in our test), while the
    size of its F test stays right. Judge by F's test, measure by ``F_of_model``.

    Do not band-pass the series first: a filter adds no knowledge, makes the order large and the test wrong. In BOLD,
    sampling slower than the influence and haemodynamics that differ between regions can reverse or invent
    directions (David et al. 2008, PLoS Biology 6:e315; Seth et al. 2013, NeuroImage 65:540); estimated drives of a
    fit are better input.

    References
    ----------
    Granger (1969), Econometrica 37:424; Geweke (1982), JASA 77:304 and (1984), JASA 79:907; Barnett & Seth (2014),
    J. Neurosci. Methods 223:50; Barnett & Seth (2015), Phys. Rev. E 91:040101 (state space); Benjamini & Hochberg
    (1995), J. R. Stat. Soc. B 57:289.

    Examples
    --------
    A drives B and B drives C; only pairs alone see A -> C:

    >>> from twinbrain.analyse.var import run_autoregression
    >>> a = [[[0.5, 0, 0], [0.6, 0.5, 0], [0, 0.6, 0.5]]]
    >>> x = xr.DataArray(run_autoregression(a, np.eye(3), 1000, seed=1), dims=("time", "region"))
    >>> x = x.assign_coords(region=["A", "B", "C"])
    >>> for way in (True, False):
    ...     print(bool(granger(x, conditional=way).q.sel(target="C", source="A") < 0.01))
    False
    True
    """
    values, names, rate_hz = _channels(series)
    n = len(names)
    groups: list[tuple[int, ...]] = [tuple(range(n))]
    if not conditional:
        groups = list(combinations(range(n), 2))
    _check_options(order, max_order, frequencies, nulls, null, len(values), len(groups[0]))
    # many small problems: one thread is faster than several, and the result must not follow their number
    with threadpool_limits(limits=1, user_api="blas"):
        return _measured(values, names, rate_hz, groups, order, max_order, frequencies, nulls, null, seed)


# ---- in time ---------------------------------------------------------------------------------------------------------


def _measured(
    values: Floats,
    names: tuple[str, ...],
    rate_hz: float,
    groups: list[tuple[int, ...]],
    order: int | str,
    max_order: int,
    frequencies: int,
    nulls: int,
    null: str,
    seed: int,
) -> Granger:
    """Do what :func:`granger` was asked, once everything is checked."""
    n = len(names)
    bic: xr.DataArray | None = None
    if isinstance(order, str):
        criterion = sum(bic_of_orders(values[:, g], max_order, names=_of(names, g)) for g in groups)
        bic = xr.DataArray(criterion, dims=("order",), coords={"order": np.arange(1, max_order + 1)})
        order = int(np.argmin(bic.values)) + 1
    F, statistic, models = _of_all(values, groups, order, names)
    for group, model in models:
        if model.radius >= 1:
            raise InputError(
                f"the model of {_list(_of(names, group))} has spectral radius {model.radius:.3f}, expected below 1: "
                "the series drifts, and causality of drifting series has no meaning; detrend it, or take differences."
            )
    free = models[0][1].free
    low, high = _interval(F, order, models[0][1].volumes)
    p, q = _significance(statistic, order, free)

    def labelled(array: Floats, units: str = "1") -> xr.DataArray:
        coords = {"target": list(names), "source": list(names)}
        return xr.DataArray(array, dims=("target", "source"), coords=coords, attrs={"units": units})

    extra: dict[str, Any] = {}
    if frequencies:
        places = (np.arange(frequencies) + 0.5) / (2 * frequencies)  # cycles per volume
        spectra, of_model = np.full((frequencies, n, n), np.nan), np.full((n, n), np.nan)
        for group, model in models:
            block: tuple[Any, ...] = np.ix_(group, group)
            spectra[(slice(None), *block)], of_model[block] = _spectra(model, places)
        coords = {"frequency": places * rate_hz, "target": list(names), "source": list(names)}
        extra["F_of_model"] = labelled(_diagonal_nan(of_model), "nat")
        extra["spectra"] = xr.DataArray(
            _diagonal_nan(spectra), dims=("frequency", "target", "source"), coords=coords, attrs={"units": "nat"}
        )
    if nulls:
        drawn = np.stack([_of_all(_surrogate(values, null, k, seed), groups, order, names)[0] for k in range(nulls)])
        extra["null_mean"] = labelled(drawn.mean(axis=0), "nat")
        extra["null_sd"] = labelled(drawn.std(axis=0, ddof=1) if nulls > 1 else np.full((n, n), np.nan), "nat")
        extra["null_p"] = labelled(_diagonal_nan((1.0 + (drawn >= F).sum(axis=0)) / (1.0 + nulls)))
        extra["null"] = null
        coords = {"draw": np.arange(nulls), "target": list(names), "source": list(names)}
        extra["F_of_null"] = xr.DataArray(
            drawn, dims=("draw", "target", "source"), coords=coords, attrs={"units": "nat"}
        )
    return Granger(
        F=labelled(F, "nat"),
        low=labelled(low, "nat"),
        high=labelled(high, "nat"),
        statistic=labelled(statistic),
        p=labelled(p),
        q=labelled(q),
        order=order,
        bic=bic,
        degrees_of_freedom=(order, free),
        conditional=len(groups[0]) == n,
        **extra,
    )


def _of_all(
    values: Floats, groups: list[tuple[int, ...]], order: int, names: tuple[str, ...]
) -> tuple[Floats, Floats, list[tuple[tuple[int, ...], Autoregression]]]:
    """F and its statistic for all channels, from one model per group of channels."""
    F = np.full((values.shape[1],) * 2, np.nan)
    statistic = F.copy()
    models = []
    for group in groups:
        model = fit_autoregression(values[:, group], order, names=_of(names, group))
        gain = _gain(model)
        F[np.ix_(group, group)] = np.log1p(gain)
        statistic[np.ix_(group, group)] = gain / model.order * model.free
        models.append((group, model))
    return _diagonal_nan(F), _diagonal_nan(statistic), models


def _gain(model: Autoregression) -> Floats:
    """(RSS_restricted - RSS_full) / RSS_full for all (target, source).

    Leaving the lags of x out adds b' V^-1 b to the residuals, with b their coefficients in the full model and V
    their block of the inverse of the regressors' products (Schur complement).
    """
    order, n = model.coefficients.shape[:2]
    rows = model.inverse_factor.reshape(order, n, -1).transpose(1, 2, 0)  # source, row, lag
    factor = np.asarray(np.linalg.qr(rows, mode="r"))  # V = factor' factor, without squaring
    effects = model.coefficients.transpose(2, 0, 1)  # source, lag, target
    whitened = np.linalg.solve(factor.transpose(0, 2, 1), effects)
    return np.asarray((whitened**2).sum(axis=1).T / np.diag(model.residual_products)[:, None])


def _significance(statistic: Floats, order: int, free: int) -> tuple[Floats, Floats]:
    from scipy.special import fdtrc
    from scipy.stats import false_discovery_control

    p = np.asarray(fdtrc(order, free, statistic), dtype=np.float64)
    q = np.full_like(p, np.nan)
    tested = np.isfinite(p)
    q[tested] = false_discovery_control(p[tested])
    return p, q


def _interval(F: Floats, order: int, volumes: int) -> tuple[Floats, Floats]:
    """95 % interval from the non-central chi-square distribution that volumes x F follows (Geweke 1984)."""
    from scipy.special import chndtr, chndtrinc

    def bound(share: float) -> Floats:
        x = F * volumes
        known = np.isfinite(x)
        inside = known & (chndtr(np.where(known, x, 1.0), order, 0.0) > share)  # else no influence is too large
        found = np.where(known, 0.0, np.nan)
        found[inside] = chndtrinc(x[inside], order, share) / volumes
        return found

    # an F so small that no causality makes it likely would have an empty interval, which excludes F itself
    return bound(0.975), np.maximum(bound(0.025), F)


# ---- by frequency ----------------------------------------------------------------------------------------------------


def _spectra(model: Autoregression, places: Floats) -> tuple[Floats, Floats]:
    """Causality (frequency, target, source) at ``places``, cycles per volume, and that of all frequencies."""
    n = model.coefficients.shape[1]
    result, whole = np.zeros((len(places), n, n)), np.zeros((n, n))
    for x in range(n):
        others = np.delete(np.arange(n), x)
        variance, total, update, hidden = _without(model, x)
        sigma = model.covariance
        order = model.order
        # transfer from e_y, with what goes along with it, to r_y: 1 + C_y (I - D z)^-1 z v_y
        start = -update @ sigma[np.ix_(others, others)]
        start[0] += sigma[x, others]
        start /= variance
        z = np.exp(-2j * np.pi * places)
        inverse = np.linalg.solve(
            np.eye(order) - hidden * z[:, None, None], np.broadcast_to(start + 0j, (len(z), *start.shape))
        )
        output = model.coefficients[:, others, x]  # lag, target
        transfer = 1.0 + z[:, None] * np.einsum("ly,wly->wy", output, inverse)
        whole[others, x] = np.log(total / variance)
        result[:, others, x] = whole[others, x] - 2.0 * np.log(np.abs(transfer))
    return np.maximum(result, 0.0), np.maximum(whole, 0.0)  # what is below 0 is rounding


def _without(model: Autoregression, x: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Innovations of the model that does not see channel x, exactly from the one that does.

    Given the past of all others, only the last p values of x are unknown. With them as the state s,

        s' = A s + a e_x + (known),   w = C s + e_w + (known),

    the innovations r of w follow from the Riccati equation of the error of s.

    Returns
    -------
    For the other channels: variance of e, variance of r, gain K (p, n - 1) of r, and error dynamics A - K C (p, p).
    """
    order, n = model.coefficients.shape[:2]
    others = np.delete(np.arange(n), x)
    sigma = model.covariance
    noise = sigma[np.ix_(others, others)]
    output = model.coefficients[:, others, x].T  # C: channel, lag
    shift = np.eye(order, k=-1)
    shift[0] = model.coefficients[:, x, x]
    # what e_w tells of e_x is known once w is: the rest of e_x is independent of e_w
    along = np.linalg.solve(noise, sigma[others, x])
    free = shift.copy()
    free[0] -= along @ output
    rest = np.zeros((order, order))
    rest[0, 0] = sigma[x, x] - along @ sigma[others, x]
    error = _riccati(free, output.T @ np.linalg.solve(noise, output), rest)
    total = output @ error @ output.T + noise
    crossed = shift @ error @ output.T
    crossed[0] += sigma[x, others]
    gain: Floats = np.asarray(np.linalg.solve(total, crossed.T).T, dtype=np.float64)
    return np.diag(noise), np.diag(total), gain, shift - gain @ output


def _riccati(a: Floats, information: Floats, noise: Floats) -> Floats:
    """Solve P = a P (I + information P)^-1 a' + noise by doubling: each pass doubles the steps in time.

    Chu et al. (2004), International Journal of Control 77:767.
    """
    a, g, h = a.T, information, noise
    unit = np.eye(len(a))
    for _ in range(60):
        middle = np.linalg.solve(unit + g @ h, np.hstack([a, g]))
        left, right = middle[:, : len(a)], middle[:, len(a) :]
        step = a.T @ h @ left
        g = g + a @ right @ a.T
        h = h + (step + step.T) / 2
        a = a @ left
        if np.abs(step).max() <= 1e-15 * np.abs(h).max():
            return h
    raise InputError(
        "the model without one channel could not be solved, since the series hardly change from volume to volume; use "
        "a lower order, or frequencies=0."
    )


# ---- surrogates and checks -------------------------------------------------------------------------------------------


def _surrogate(values: Floats, kind: str, draw: int, seed: int) -> Floats:
    if kind == "phase":
        # its own stream of the seed, so that a caller's phase_randomise(seed=0) is not repeated here
        inner = int(generator(seed, _PHASES).integers(2**63))
        return np.asarray(phase_randomise(values, keep_fc=False, draw=draw, seed=inner))
    shifts = generator(seed, _SHIFTS + (draw << 8)).integers(0, len(values), size=values.shape[1])
    rows = (np.arange(len(values))[:, None] - shifts) % len(values)
    return np.take_along_axis(values, rows, axis=0)


def _channels(series: xr.DataArray) -> tuple[Floats, tuple[str, ...], float]:
    """Values (time, channel), names and sampling rate in Hz (1 without times)."""
    if not isinstance(series, xr.DataArray) or "time" not in series.dims or series.ndim != 2:
        found = tuple(series.dims) if isinstance(series, xr.DataArray) else type(series).__name__
        raise InputError(f"the series is {found}, expected an xarray.DataArray (time, channel); name its dimensions.")
    ordered = series.transpose("time", ...)
    channel = str(ordered.dims[1])
    if ordered.sizes[channel] < 2:
        raise InputError(f"the series has {ordered.sizes[channel]} channel, expected 2 or more; give a partner.")
    labels = ordered[channel].values if channel in ordered.coords else np.arange(ordered.sizes[channel])
    names = tuple(str(name) for name in labels)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"channel '{name}' is there twice, expected names of their own; rename one.")
    values, _ = check_channels(ordered.to_numpy(), names)
    rate_hz = 1.0
    if "time" in ordered.coords:
        steps = np.diff(ordered["time"].values.astype(np.float64))
        if not (steps > 0).all() or np.ptp(steps) > 0.01 * steps.mean():
            raise InputError(
                f"the times step by {steps.min():g} to {steps.max():g} s, expected equal steps; interpolate the gaps, "
                "or cut the series at them."
            )
        rate_hz = float(1.0 / steps.mean())
    return values, names, rate_hz


def _check_options(
    order: int | str, max_order: int, frequencies: int, nulls: int, null: str, volumes: int, channels: int
) -> None:
    if isinstance(order, str) and order != "bic":
        raise InputError(f"order is {order!r}, expected a number of lags or 'bic'; leave it out for 'bic'.")
    if null not in ("phase", "shift"):
        raise InputError(f"null is {null!r}, expected 'phase' or 'shift'; choose one.")
    for name, value in (("frequencies", frequencies), ("nulls", nulls)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise InputError(f"{name} is {value!r}, expected a whole number from 0; 0 leaves them out.")
    check_length(volumes, channels, max_order if isinstance(order, str) else order)


def _of(names: tuple[str, ...], group: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(names[i] for i in group)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _diagonal_nan(array: Floats) -> Floats:
    i = np.arange(array.shape[-1])
    array[..., i, i] = np.nan
    return array
