r"""Effective connectivity: gains on the anatomical edges, fitted so that the inputs predict the other regions.

With few inputs a network near its working point is a linear filter of them: region i follows ``sum_j W_ij x_j`` with

.. math:: W = (1 - k Q_{nn})^{-1} k Q_{n,in},

n = regions without an input, k = loop gain, Q = shares of long-range input (rows sum to 1). Through the bare anatomy W
is nearly the same row for every region, and the twin is a copy of its inputs. Here the rows n of Q are fitted,

.. math:: Q_{ij} = \frac{e^{\theta_{ij}}}{\sum_{l \in mask_i} e^{\theta_{il}}}, \qquad j \in mask_i,

so an edge that the anatomy lacks stays absent, no weight is negative, and k < 1 keeps the system stable whatever theta.
The fit minimises, over the training volumes (y = standard scores, R = Pearson),

.. math:: \sum_i (1 - R(y_i, (W x)_i)^2) + f n (1 - R(FC_{model}, FC_{data}))
          + \frac{p}{V} \sum_{ij} (\theta_{ij} - \theta^0_{ij})^2,

theta0 = s log(anatomy). The first term is the variance left unexplained with the best scale for each region, the second
keeps the pattern of correlations (all pairs but those between inputs), the third pulls to the anatomy. Rows of inputs
stay as they are: the data say nothing about them. Everything refers to what happens in a second or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twinbrain.assimilate.linear import propagate, region_projection
from twinbrain.assimilate.target import observations
from twinbrain.brain import Brain
from twinbrain.errors import InputError, nearest

__all__ = ["EffectiveConnectivity", "effective_connectivity", "explained_variance"]

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MARGIN = 10  # volumes at each end of a part: the band-pass mixes what lies on both sides of a border
_LEAST = 60  # volumes a part needs to be worth a correlation
_ABSENT = -1e30  # theta of an edge that does not exist
_FLOOR = 1e-6  # smallest share of anatomy that is told from the next


@dataclass(frozen=True, eq=False)
class EffectiveConnectivity:
    """Result of :func:`effective_connectivity`.

    Attributes
    ----------
    brain
        The Brain with the fitted projection: build a Network on it and calibrate that again.
    gains
        (target, source) fitted share / anatomical share of each region's input; 0 where there is no edge, 1 in rows of
        inputs.
    difference
        All edges with their anatomical and fitted share, largest change first: columns target, source, anatomy,
        fitted, change (fitted - anatomy), log2_gain.
    prediction
        Scores of the noiseless linear prediction; rows are (part, predictor): part ``training`` (in-sample) or ``test``
        (held out), predictor ``copy_inputs``, ``anatomy`` or ``effective``; columns pcc_noninputs (mean Pearson in time
        over regions without input), fc_pcc and fc_rms (upper triangle, all pairs), volumes.
    explained
        (region) share of each region's variance that the effective prediction explains in the training part; 1 for
        inputs.
    inputs, loop_gain, training
        Names, k and (start, stop) volumes of the fit.
    settings
        The other settings, and the number of steps taken.

    Examples
    --------
    >>> EffectiveConnectivity.__dataclass_params__.frozen
    True
    """

    brain: Brain
    gains: xr.DataArray
    difference: pd.DataFrame
    prediction: pd.DataFrame
    explained: xr.DataArray
    inputs: tuple[str, ...]
    loop_gain: float
    training: tuple[int, int]
    settings: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        part = "test" if "test" in self.prediction.index.get_level_values("part") else "training"
        pcc = self.prediction["pcc_noninputs"].xs(part, level="part")
        now, before = float(pcc["effective"]), float(pcc["copy_inputs"])
        return (
            f"EffectiveConnectivity({len(self.inputs)} inputs, {len(self.difference)} edges, {part} PCC of the others "
            f"{now:.3f}, copy of the inputs {before:.3f})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.prediction.to_html()}{self.difference.head(10).to_html()}"


def effective_connectivity(
    brain: Brain,
    bold: xr.DataArray,
    inputs: Sequence[str],
    *,
    training: tuple[int, int] | None = None,
    loop_gain: float = 0.5,
    pull: float = 0.1,
    fc_weight: float = 0.5,
    anatomy_power: float = 0.5,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
    prior: xr.DataArray | None = None,
    steps: int = 300,
) -> EffectiveConnectivity:
    """Fit gains on the edges of the connectome so that recorded inputs predict the recorded other regions.

    The defaults were chosen on three sample people by the linear prediction of the half not used for fitting (ten
    inputs; mean PCC of the others 0.62, FC PCC 0.69) and confirmed on four others (0.58, 0.64; a copy of the inputs
    0.47, 0.11). Nothing here is random.

    Parameters
    ----------
    brain
        Region or voxel level. Only regions with a recording count in the fit; the others relay.
    bold
        Recorded BOLD (time, region), any unit, ``attrs["repetition_time_s"]``.
    inputs
        Regions that will be driven.
    training
        (start, stop) volumes used for the fit; default: the first half. All others are the test part. Ten volumes
        at each end of a part are left out.
    loop_gain
        k of the working point the network will have, 0 < k < 1. Default 0.5: with fitted gains the inputs reach the
        others more directly, so that a lower gain carries them as far, and a network in which everything follows the
        inputs leaves its low state at the 0.8 that suits the bare anatomy. The prediction hardly depends on it.
    pull
        p, strength of the pull to the anatomy. Default 0.1.
    fc_weight
        f, weight of the pattern of correlations. Default 0.5; 0 fits the courses in time alone.
    anatomy_power
        s, the start (and what is pulled to) is anatomy ** s with rows scaled to sum 1. Default 0.5, which halves the
        many decades that streamline counts span.
    band_hz
        Pass band, Hz; None = as recorded.
    prior
        (target, source) gains of an earlier fit, such as of other people, to start from and be pulled to instead.
    steps
        Most steps of the optimiser (L-BFGS with the analytic gradient). Default 300, about 5 s for 94 regions.

    Returns
    -------
    EffectiveConnectivity

    Raises
    ------
    InputError
        If an input is unknown, every region is an input, or a setting or the training part cannot be used.

    References
    ----------
    Fitting effective connectivity inside the anatomical mask to BOLD: Gilson et al., PLoS Comput Biol 12:e1004762
    (2016); Deco et al., J Neurosci 34:7910 (2014). L-BFGS: Byrd et al., SIAM J Sci Comput 16:1190 (1995).

    Examples
    --------
    >>> import twinbrain as tb
    >>> random = np.random.default_rng(1)
    >>> x = random.normal(size=(400, 4)).cumsum(axis=0) * 0.1
    >>> x[:, 2] = x[:, 0] + 0.1 * random.normal(size=400)
    >>> x[:, 3] = x[:, 1] + 0.1 * random.normal(size=400)
    >>> person = tb.Subject.from_arrays(1.0 - np.eye(4), list("abcd"), {"rest": x}, repetition_time_s=0.8)
    >>> fitted = effective_connectivity(tb.Brain.from_subject(person), person.bold["rest"], ["a", "b"], band_hz=None)
    >>> fitted.difference.loc[:1, ["target", "source"]].values.tolist()
    [['d', 'b'], ['c', 'a']]
    """
    _check_settings(loop_gain, pull, fc_weight, anatomy_power, steps)
    regions = list(brain.regions)
    chosen = _check_inputs(inputs, regions)
    y, parts, span = _recording(bold, regions, training, band_hz)
    C = region_projection(brain)
    layout = _Layout.of(regions, chosen, y)
    grams = [layout.moments(y[parts["training"]])]
    rows = C[np.ix_(layout.free, layout.order)]
    mask = rows > 0
    mask[np.arange(len(rows)), np.arange(len(rows))] = (
        False  # at voxel level a region may project to itself: kept as is
    )
    start = np.where(mask, np.log(np.maximum(rows, _FLOOR)) * anatomy_power, _ABSENT)
    if prior is not None:
        start = np.where(mask, start * 0 + np.log(np.maximum(rows * layout.arrange(prior, regions), 1e-12)), _ABSENT)
    theta, taken = _minimise(start, mask, grams, layout, loop_gain, pull, fc_weight, steps)
    shares = _softmax(theta, mask)
    fitted = C.copy()
    inside = np.diag(C)[layout.free][:, None]  # the share a region keeps for itself is not part of the fit
    fitted[np.ix_(layout.free, layout.order)] = shares * (1.0 - inside)
    fitted[layout.free, layout.free] = inside[:, 0]
    gains = np.divide(fitted, C, out=np.zeros_like(C), where=C > 0)
    predictors = {
        "copy_inputs": np.full((len(layout.free), len(layout.driven)), 1.0 / len(layout.driven)),
        "anatomy": propagate(C, loop_gain, layout.driven),
        "effective": propagate(fitted, loop_gain, layout.driven),
    }
    return EffectiveConnectivity(
        brain=_with_gains(brain, gains),
        gains=xr.DataArray(
            gains,
            dims=("target", "source"),
            coords={"target": regions, "source": regions},
            name="gain",
            attrs={"units": "1", "meaning": "fitted share / anatomical share of long-range input"},
        ),
        difference=_differences(C, fitted, regions, layout.free),
        prediction=_scored(y, parts, layout, predictors),
        explained=_explained(y[parts["training"]], layout, predictors["effective"], regions),
        inputs=chosen,
        loop_gain=loop_gain,
        training=span,
        settings={
            "pull": pull,
            "fc_weight": fc_weight,
            "anatomy_power": anatomy_power,
            "steps": float(taken),
        },
    )


def explained_variance(
    brain: Brain,
    bold: xr.DataArray,
    inputs: Sequence[str],
    *,
    training: tuple[int, int] | None = None,
    loop_gain: float = 0.8,
    band_hz: tuple[float, float] | None = (0.01, 0.1),
) -> xr.DataArray:
    """Return the share of each region's variance that linear propagation of the inputs explains in the training part.

    Parameters
    ----------
    brain, bold, inputs, training, loop_gain, band_hz
        As in :func:`effective_connectivity`.

    Returns
    -------
    DataArray (region)
        Squared correlation of recording and prediction, 0..1; 1 for inputs, 0 where the prediction has the wrong sign
        or there is no recording.

    Examples
    --------
    >>> import twinbrain as tb
    >>> x = np.random.default_rng(1).normal(size=(200, 2))
    >>> person = tb.Subject.from_arrays(1.0 - np.eye(2), ["a", "b"], {"rest": x}, repetition_time_s=0.8)
    >>> explained_variance(tb.Brain.from_subject(person), person.bold["rest"], ["a"]).values.round(1).tolist()
    [1.0, 0.0]
    """
    _check_settings(loop_gain, 0.0, 0.0, 1.0, 1)
    regions = list(brain.regions)
    chosen = _check_inputs(inputs, regions)
    y, parts, _ = _recording(bold, regions, training, band_hz)
    layout = _Layout.of(regions, chosen, y)
    W = propagate(region_projection(brain), loop_gain, layout.driven)
    return _explained(y[parts["training"]], layout, W, regions)


# ---- what is fitted --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Layout:
    """Positions: ``free`` and ``driven`` in the Brain, ``order`` = free then driven, ``seen`` = recorded among free."""

    free: NDArray[np.int64]
    driven: NDArray[np.int64]
    order: NDArray[np.int64]
    seen: Mask

    @classmethod
    def of(cls, regions: list[str], inputs: tuple[str, ...], y: Float) -> _Layout:
        driven = np.array([regions.index(name) for name in inputs], np.int64)
        free = np.setdiff1d(np.arange(len(regions)), driven)
        if not len(free):
            raise InputError("inputs: every region is one, expected at least one without; there is nothing to predict")
        there: Mask = np.asarray(np.isfinite(y).any(axis=0), np.bool_)
        if not there[driven].all():
            missing = inputs[int(np.flatnonzero(~there[driven])[0])]
            raise InputError(f"bold: input '{missing}' has no recording, expected one for each input; leave it out")
        if not there[free].any():
            raise InputError("bold: no region besides the inputs is recorded, expected some; there is nothing to fit")
        return cls(free, driven, np.concatenate([free, driven]), there[free])

    def moments(self, y: Float) -> tuple[Float, Float, Float]:
        """Correlations of the inputs, of the others with the inputs, and between the others (0 where not recorded)."""
        x, others = _standard(y[:, self.driven]), _standard(y[:, self.free])
        n = len(y)
        return x.T @ x / n, others.T @ x / n, others.T @ others / n

    def arrange(self, gains: xr.DataArray, regions: list[str]) -> Float:
        """Gains in the order of the fit."""
        if set(gains.dims) != {"target", "source"} or not set(regions) <= set(gains["target"].values.tolist()):
            raise InputError(
                f"prior: found {dict(gains.sizes)}, expected gains (target, source) of all regions of the brain; give "
                "the gains of an EffectiveConnectivity"
            )
        ordered = gains.sel(target=regions, source=regions).transpose("target", "source").to_numpy()
        return np.asarray(ordered[np.ix_(self.free, self.order)], np.float64)


def _softmax(theta: Float, mask: Mask) -> Float:
    """Shares of each row over its existing edges; a row without one is 0."""
    highest = np.where(mask.any(axis=1), np.where(mask, theta, -np.inf).max(axis=1, initial=-np.inf), 0.0)
    weight = np.where(mask, np.exp(np.minimum(theta - highest[:, None], 0.0)), 0.0)
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(weight / np.where(total > 0, total, 1.0), np.float64)


def _objective(
    theta: Float,
    start: Float,
    mask: Mask,
    grams: Sequence[tuple[Float, Float, Float]],
    seen: Mask,
    k: float,
    pull: float,
    fc_weight: float,
) -> tuple[float, Float]:
    """Return the misfit and its gradient with respect to theta (free, order).

    With S = (1 - k Q_nn)^-1 and W = S k Q_n,in the derivative is dW = S k (dQ_nn W + dQ_n,in), hence
    dL/dQ = k [D W', D] with D = S' dL/dW, and dL/dtheta = Q (dL/dQ - sum_row Q dL/dQ).
    """
    n = len(theta)
    shares = _softmax(theta, mask)
    through = np.linalg.inv(np.eye(n) - k * shares[:, :n])
    W = through @ (k * shares[:, n:])
    value, slope = 0.0, np.zeros_like(W)
    for inner, cross, between in grams:
        projected = W @ inner
        variance = np.maximum((projected * W).sum(axis=1), 1e-12)
        scale = np.maximum((W * cross).sum(axis=1) / variance, 0.0) * seen
        value += float((seen * (1.0 - scale * (W * cross).sum(axis=1))).sum())
        slope += 2.0 * scale[:, None] * (scale[:, None] * projected - cross)
        if fc_weight > 0 and seen.sum() > 1:
            extra, direction = _fc_misfit(projected, W, variance, cross, between, inner, seen)
            value += fc_weight * seen.sum() * extra
            slope += fc_weight * seen.sum() * direction
    value, slope = value / len(grams), slope / len(grams)
    back = through.T @ slope
    of_shares = k * np.concatenate([back @ W.T, back], axis=1)
    gradient = shares * (of_shares - (shares * of_shares).sum(axis=1, keepdims=True))
    away = np.where(mask, theta - start, 0.0)
    weight = pull / theta.shape[1]
    return value + weight * float(np.square(away).sum()), gradient + 2.0 * weight * away


def _fc_misfit(
    projected: Float, W: Float, variance: Float, cross: Float, between: Float, inner: Float, seen: Mask
) -> tuple[float, Float]:
    """1 - correlation of modelled and recorded FC over recorded pairs with at least one free region, and dL/dW."""
    n = len(W)
    sd = np.sqrt(variance)
    upper: Mask = np.triu(np.outer(seen, seen), 1).astype(np.bool_)
    rows: Mask = np.broadcast_to(seen[:, None], cross.shape)
    model_nn, model_ni = (projected @ W.T) / np.outer(sd, sd), projected / sd[:, None]
    a = np.concatenate([model_nn[upper], model_ni[rows]])
    b = np.concatenate([between[upper], cross[rows]])
    a, b = a - a.mean(), b - b.mean()
    size_a, size_b = max(float(np.linalg.norm(a)), 1e-12), max(float(np.linalg.norm(b)), 1e-12)
    r = float(a @ b) / size_a / size_b
    of_a = -(b / size_b - r * a / size_a) / size_a
    of_nn, of_ni = np.zeros((n, n)), np.zeros_like(cross)
    count = int(upper.sum())
    of_nn[upper], of_ni[rows] = of_a[:count], of_a[count:]
    of_nn = of_nn + of_nn.T  # each pair was counted once; below, half from either side
    of_variance = -((of_nn * model_nn).sum(axis=1) + (of_ni * model_ni).sum(axis=1)) / (2.0 * variance)
    direction = (of_nn / np.outer(sd, sd)) @ projected + 2.0 * of_variance[:, None] * projected
    return 1.0 - r, direction + (of_ni / sd[:, None]) @ inner


def _minimise(
    start: Float,
    mask: Mask,
    grams: Sequence[tuple[Float, Float, Float]],
    layout: _Layout,
    k: float,
    pull: float,
    fc_weight: float,
    steps: int,
) -> tuple[Float, int]:
    from scipy.optimize import minimize

    def misfit(flat: Float) -> tuple[float, Float]:
        theta = start.copy()
        theta[mask] = flat
        value, gradient = _objective(theta, start, mask, grams, layout.seen, k, pull, fc_weight)
        return value, gradient[mask]

    if not mask.any():
        return start, 0
    done: Any = minimize(misfit, start[mask], jac=True, method="L-BFGS-B", options={"maxiter": steps})
    theta = start.copy()
    theta[mask] = done.x
    return theta, int(done.nit)


# ---- what comes out --------------------------------------------------------------------------------------------------


def _with_gains(brain: Brain, gains: Float) -> Brain:
    """Multiply every projection by the gain of its pair of regions and scale the rows back to what they summed to."""
    old = brain.projection
    row = np.repeat(np.arange(old.shape[0]), np.diff(old.indptr))
    factor = gains[brain.region_index[row], brain.region_index[old.indices]]
    new = csr_array((old.data * factor, old.indices.copy(), old.indptr.copy()), shape=old.shape)
    before: Float = np.asarray(old.sum(axis=1), np.float64).ravel()
    after: Float = np.asarray(new.sum(axis=1), np.float64).ravel()
    new.data *= np.divide(before, after, out=np.zeros_like(before), where=after > 0)[row]
    return replace(brain, projection=new)


def _differences(C: Float, fitted: Float, regions: list[str], free: NDArray[np.int64]) -> pd.DataFrame:
    target, source = np.nonzero(C[free] > 0)
    target = free[target]
    names = np.array(regions, dtype=object)
    table = pd.DataFrame(
        {
            "target": names[target],
            "source": names[source],
            "anatomy": C[target, source],
            "fitted": fitted[target, source],
        }
    )
    table["change"] = table["fitted"] - table["anatomy"]
    table["log2_gain"] = np.log2(np.maximum(table["fitted"], 1e-300) / table["anatomy"])
    order = np.argsort(-table["change"].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _scored(
    y: Float, parts: dict[str, NDArray[np.int64]], layout: _Layout, predictors: dict[str, Float]
) -> pd.DataFrame:
    found = {}
    for part, volumes in parts.items():
        if len(volumes) < _LEAST:
            continue
        x, others = _standard(y[np.ix_(volumes, layout.driven)]), _standard(y[np.ix_(volumes, layout.free)])
        others, seen = others[:, layout.seen], layout.seen
        recorded = np.concatenate([others, x], axis=1)
        upper = np.triu_indices(recorded.shape[1], 1)
        for name, W in predictors.items():
            guess = _standard(x @ W.T)[:, seen]
            model = np.concatenate([guess, x], axis=1)
            fc = [(z.T @ z / len(z))[upper] for z in (model, recorded)]
            found[part, name] = {
                "pcc_noninputs": float((guess * others).mean(axis=0).mean()),
                "fc_pcc": float(np.corrcoef(*fc)[0, 1]) if len(fc[0]) > 2 else math.nan,
                "fc_rms": float(np.sqrt(np.square(fc[0] - fc[1]).mean())),
                "volumes": len(volumes),
            }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis(["part", "predictor"])


def _explained(y: Float, layout: _Layout, W: Float, regions: list[str]) -> xr.DataArray:
    """R^2 of every region; 0 where the prediction has the wrong sign or there is no recording."""
    share = np.ones(len(regions))
    guess, others = _standard(y[:, layout.driven] @ W.T), _standard(y[:, layout.free])
    share[layout.free] = np.square(np.clip((guess * others).mean(axis=0), 0.0, 1.0))
    return xr.DataArray(share, dims="region", coords={"region": regions}, name="explained", attrs={"units": "1"})


def _standard(values: Float) -> Float:
    """Standard scores by column; 0 where a column is not recorded or constant."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    flat = ~(spread > 1e-12)
    result = centred / np.where(flat, 1.0, spread)
    result[:, flat] = 0.0
    return np.asarray(result, np.float64)


# ---- what is asked ---------------------------------------------------------------------------------------------------


def _recording(
    bold: xr.DataArray, regions: list[str], training: tuple[int, int] | None, band_hz: tuple[float, float] | None
) -> tuple[Float, dict[str, NDArray[np.int64]], tuple[int, int]]:
    """Standard scores (time, region of the brain; NaN where not recorded), the volumes of each part, the span."""
    names = [str(r) for r in bold["region"].values] if "region" in bold.coords else []
    target = observations(bold, band_hz=band_hz, mean=1.0, scale=1.0, clip=1e9, required=[])
    y = np.full((target.sizes["time"], len(regions)), np.nan)
    for j, name in enumerate(regions):
        if name in names:
            y[:, j] = target.sel(region=name).values
    total = len(y)
    first, last = (0, total // 2) if training is None else (int(training[0]), int(training[1]))
    if not (0 <= first < last <= total) or last - first < _LEAST + 2 * _MARGIN:
        raise InputError(
            f"training: found volumes {first} to {last} of {total}, expected at least {_LEAST + 2 * _MARGIN} volumes "
            "inside the recording; give for example training=(0, 600)"
        )
    there = np.isfinite(y).any(axis=1)  # a volume that is missing everywhere is in no part
    index = np.arange(total)
    inside = (index >= first + _MARGIN) & (index < last - _MARGIN)
    outside = (index < first - _MARGIN) | (index >= last + _MARGIN)
    outside &= (index >= _MARGIN) & (index < total - _MARGIN)
    parts = {"training": index[inside & there], "test": index[outside & there]}
    used = np.concatenate(list(parts.values()))
    y[:, ~np.isfinite(y[used]).all(axis=0)] = np.nan  # missing here and there: not comparable with the others
    return y, parts, (first, last)


def _check_inputs(inputs: Sequence[str], regions: list[str]) -> tuple[str, ...]:
    chosen = (inputs,) if isinstance(inputs, str) else tuple(str(r) for r in inputs)
    if not chosen:
        raise InputError("inputs: found none, expected at least one region name; give e.g. inputs=['Thalamus_L']")
    for name in chosen:
        if name not in regions or chosen.count(name) > 1:
            what = "is listed twice" if name in regions else f"is no region of this brain{nearest(name, regions)}"
            raise InputError(f"inputs: '{name}' {what}, expected different regions; correct the list")
    return chosen


def _check_settings(loop_gain: float, pull: float, fc_weight: float, power: float, steps: int) -> None:
    if not 0 < loop_gain < 1:
        raise InputError(
            f"loop_gain: found {loop_gain:g}, expected above 0 and below 1, where the network is stable; 0.8 is usual"
        )
    for name, value in (("pull", pull), ("fc_weight", fc_weight), ("anatomy_power", power)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: found {value:g}, expected 0 or more; leave it out for the default")
    if steps < 1 or int(steps) != steps:
        raise InputError(f"steps: found {steps!r}, expected a whole number of 1 or more; 300 is the default")
