"""What can be said about a brain's BOLD without simulating it: the predictions a twin has to beat.

Each function takes recorded BOLD (time, region) and returns a prediction of the same shape in standard
scores, in which the input regions are their own recorded series: the twin is given them too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats, standardise
from twinbrain.errors import InputError, nearest

__all__ = ["copy_inputs", "ideal_linear", "persistence", "ridge_from_inputs"]

# Penalties tried by ridge_from_inputs, from nearly none to nearly no fit, half a decade apart.
_PENALTIES = 10.0 ** np.arange(0.0, 5.6, 0.5)
_MIN_TRAINING = 20


def copy_inputs(recorded: xr.DataArray, inputs: Sequence[str]) -> xr.DataArray:
    """Predict every other region by the mean of the inputs' standardised BOLD.

    Any nearly linear network driven by a few regions ends near this prediction, whatever its neurons; a twin
    whose score does not exceed it has shown nothing about the brain beyond its inputs.

    Parameters
    ----------
    recorded
        (time, region), any units.
    inputs
        Names of the driven regions, at least one.

    Returns
    -------
    DataArray (time, region), standard scores.

    Raises
    ------
    InputError
        If an input is not a region, or none is given.

    Examples
    --------
    >>> x = xr.DataArray(np.eye(4)[:, :3], dims=("time", "region"), coords={"region": ["A", "B", "C"]})
    >>> p = copy_inputs(x, ["A"])
    >>> bool((p.sel(region="C") == p.sel(region="A")).all())
    True
    """
    z, is_input = _standardised(recorded, inputs)
    prediction = np.where(is_input, z, z[:, is_input].mean(axis=1, keepdims=True))
    return _labelled(prediction, recorded)


def ideal_linear(
    recorded: xr.DataArray, inputs: Sequence[str], connectome: xr.DataArray, *, k: float = 0.8
) -> xr.DataArray:
    """Predict every other region by noiseless linear propagation of the inputs through the connectome.

    ``x_n = (1 - k C_nn)^-1 k C_ni x_i`` with C the connectome whose rows (targets) are scaled to sum 1, n
    the regions that are no inputs and i the inputs: the slow limit of a network that works linearly and
    without noise.

    Parameters
    ----------
    recorded
        (time, region), any units.
    inputs
        Names of the driven regions.
    connectome
        (target, source), >= 0, any units; must hold every region of ``recorded``; may hold more, which then
        relay.
    k
        Strength of propagation, 0 < k < 1; 0.8 is that of a well calibrated network. Scores hardly depend on
        it.

    Returns
    -------
    DataArray (time, region), standard scores. Regions no input reaches are 0.

    Raises
    ------
    InputError
        If ``k`` is out of bounds, an input is unknown, or the connectome lacks a region or has values below
        0.

    Examples
    --------
    >>> x = xr.DataArray(np.eye(4)[:, :3], dims=("time", "region"), coords={"region": ["A", "B", "C"]})
    >>> names = {"target": list("ABC"), "source": list("ABC")}
    >>> c = xr.DataArray(1.0 - np.eye(3), dims=("target", "source"), coords=names)
    >>> p = ideal_linear(x, ["A"], c)
    >>> bool(np.allclose(p.sel(region="B"), p.sel(region="A")))
    True
    """
    z, is_input = _standardised(recorded, inputs)
    if not 0.0 < k < 1.0:
        raise InputError(f"k is {k}, expected a number between 0 and 1, both excluded; 0.8 is usual.")
    regions = [str(name) for name in recorded["region"].values]
    if set(connectome.dims) != {"target", "source"}:
        raise InputError(
            f"the connectome has dimensions {tuple(connectome.dims)}, expected (target, source); name them so."
        )
    known = [str(name) for name in connectome["target"].values]
    for name in regions:
        if name not in known:
            raise InputError(f"region '{name}' of the recorded BOLD is not in the connectome{nearest(name, known)}.")
    weights = connectome.sel(source=connectome["target"].values).transpose("target", "source")
    matrix = weights.to_numpy().astype(np.float64)
    np.fill_diagonal(matrix, 0.0)
    if not (np.isfinite(matrix).all() and (matrix >= 0).all()):
        raise InputError(
            "the connectome holds values below 0 or not finite, expected weights >= 0; mend or remove them."
        )
    sums = matrix.sum(axis=1, keepdims=True)
    matrix = np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums > 0)
    chosen = [name for name, flag in zip(regions, is_input, strict=True) if flag]
    driven = np.array([known.index(name) for name in chosen])
    free = np.setdiff1d(np.arange(len(known)), driven)
    spread = np.linalg.solve(np.eye(len(free)) - k * matrix[np.ix_(free, free)], k * matrix[np.ix_(free, driven)])
    everywhere = np.zeros((len(z), len(known)))
    everywhere[:, driven] = z[:, is_input]
    everywhere[:, free] = z[:, is_input] @ spread.T
    return _labelled(standardise(everywhere[:, [known.index(name) for name in regions]]), recorded)


def persistence(recorded: xr.DataArray) -> xr.DataArray:
    """Predict each volume by the one before it, region by region.

    It uses each region's own past, which no free run is given: a measure of how smooth the data are, not a
    competitor. The first volume has no past and is predicted by the mean.

    Examples
    --------
    >>> x = xr.DataArray(np.array([[1.0], [2.0], [4.0]]), dims=("time", "region"), coords={"region": ["A"]})
    >>> p = persistence(x)
    >>> bool(p[2, 0] > p[1, 0])
    True
    """
    z, _ = _standardised(recorded, None)
    prediction = np.zeros_like(z)
    prediction[1:] = z[:-1]
    return _labelled(prediction, recorded)


def ridge_from_inputs(
    recorded: xr.DataArray,
    inputs: Sequence[str],
    *,
    at: xr.DataArray | None = None,
    present: npt.ArrayLike | None = None,
    lags: int = 3,
    blocks: int = 5,
    gap_s: float = 12.0,
) -> xr.DataArray:
    """Predict every other region by ridge regression on the inputs' BOLD, always out of sample.

    The recording is cut into ``blocks`` contiguous blocks. For each, weights are learnt on the others
    without the volumes nearer than ``gap_s`` to it (BOLD remembers), from the inputs at lags ``-lags ..
    +lags`` volumes; the penalty is the one that predicts the next block best when that is left out too, one
    penalty for all regions. The weights never saw the block they predict (each series is standardised over
    the measured volumes of the whole run). The prediction needs no model of the brain but knows the other regions
    from the rest of the run, which a free run does not.

    Parameters
    ----------
    recorded
        (time, region) with ``time`` in s, evenly spaced, any units: the whole recording, from which weights
        are learnt.
    inputs
        Names of the driven regions.
    at
        The part to predict, (time, region), its times among those of ``recorded`` to half a repetition time.
        It may be filtered by itself, so that the prediction has the same edges as the series it is held
        against. Default: all of ``recorded``.
    present
        (time,) which volumes of ``recorded`` were measured; the others are bridged (scrubbed), and neither weights
        nor penalty are learnt from them. Default: all.
    lags
        Largest shift of the inputs, volumes, both ways. Default 3.
    blocks
        Number of blocks, at least 3. Default 5.
    gap_s
        Volumes nearer than this to the predicted block are not learnt from, s. Default 12.

    Returns
    -------
    DataArray (time, region) like ``at``, standard scores.

    Raises
    ------
    InputError
        If an input is unknown or the recording is too short for the blocks and gaps.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(400, 3))
    >>> x[:, 2] += x[:, 0] - 2 * x[:, 1]
    >>> coords = {"time": np.arange(400) * 0.72, "region": ["A", "B", "C"]}
    >>> x = xr.DataArray(x, dims=("time", "region"), coords=coords)
    >>> p = ridge_from_inputs(x, ["A", "B"])
    >>> bool(np.corrcoef(p.sel(region="C"), x.sel(region="C"))[0, 1] > 0.85)  # ideal: (5 / 6) ** 0.5 = 0.91
    True
    """
    _check_axes(recorded)
    volumes = recorded.sizes["time"]
    measured = np.ones(volumes, dtype=np.bool_) if present is None else np.asarray(present, dtype=np.bool_)
    if measured.shape != (volumes,):
        raise InputError(f"present has shape {measured.shape}, expected one value for each of {volumes} volumes.")
    z, is_input = _standardised(recorded, inputs, measured)
    part = recorded if at is None else at.sel(region=recorded["region"].values)
    seconds = np.asarray(recorded["time"].values, dtype=np.float64)
    step = float(np.median(np.diff(seconds)))
    position = np.rint((np.asarray(part["time"].values, dtype=np.float64) - seconds[0]) / step).astype(np.int64)
    if blocks < 3 or lags < 0 or gap_s < 0:
        raise InputError(
            f"ridge got blocks={blocks}, lags={lags}, gap_s={gap_s}, expected blocks >= 3, lags >= 0, gap_s >= 0."
        )
    if position.min() < 0 or position.max() >= len(z):
        raise InputError("the part to predict reaches beyond the recorded times, expected times inside; cut it.")
    if not measured[position].any():
        raise InputError("the part to predict has no volume that was measured; choose another part.")
    target, _ = _standardised(part, inputs, measured[position])
    edges = np.linspace(0, len(z), blocks + 1).astype(np.int64)
    gap = int(np.ceil(gap_s / step))
    features, response = _lagged(z[:, is_input], lags), z[:, ~is_input]
    wanted = _lagged(target[:, is_input], lags)
    prediction = target.copy()
    for fold in range(blocks):
        rows = np.flatnonzero((position >= edges[fold]) & (position < edges[fold + 1]))
        if not len(rows) or is_input.all():
            continue
        outer = measured & _away_from(len(z), edges, fold, gap)
        following = (fold + 1) % blocks
        inner = outer & _away_from(len(z), edges, following, gap)
        held = outer & _inside(len(z), edges, following)
        if inner.sum() < _MIN_TRAINING or not held.any():
            raise InputError(
                f"ridge has {int(inner.sum())} volumes to learn from and {int(held.sum())} to choose its "
                f"penalty by, expected at least {_MIN_TRAINING} and 1: {len(z)} recorded volumes are too few "
                f"for {blocks} blocks with gaps of {gap_s:g} s; give a longer recording."
            )
        errors = [
            np.square(response[held] - features[held] @ weights).mean()
            for weights in _ridge(features[inner], response[inner], _PENALTIES)
        ]
        penalty = _PENALTIES[[int(np.argmin(errors))]]
        prediction[np.ix_(rows, ~is_input)] = wanted[rows] @ _ridge(features[outer], response[outer], penalty)[0]
    return _labelled(standardise(prediction), part)


def _ridge(features: Floats, response: Floats, penalties: Floats) -> list[Floats]:
    """Ridge weights (feature, region) for each penalty, from one eigen-decomposition; data are centred."""
    values, vectors = np.linalg.eigh(features.T @ features)
    rotated = vectors.T @ (features.T @ response)
    return [vectors @ (rotated / (np.maximum(values, 0.0) + penalty)[:, None]) for penalty in penalties]


def _lagged(series: Floats, lags: int) -> Floats:
    """Columns of ``series`` at every lag; beyond the ends the first or last volume is repeated."""
    padded = np.pad(series, ((lags, lags), (0, 0)), mode="edge")
    return np.concatenate([padded[shift : shift + len(series)] for shift in range(2 * lags + 1)], axis=1)


def _inside(volumes: int, edges: npt.NDArray[np.int64], fold: int) -> npt.NDArray[np.bool_]:
    index = np.arange(volumes)
    return np.asarray((index >= edges[fold]) & (index < edges[fold + 1]), dtype=np.bool_)


def _away_from(volumes: int, edges: npt.NDArray[np.int64], fold: int, gap: int) -> npt.NDArray[np.bool_]:
    index = np.arange(volumes)
    return np.asarray((index < edges[fold] - gap) | (index >= edges[fold + 1] + gap), dtype=np.bool_)


def _check_axes(recorded: xr.DataArray) -> None:
    if set(recorded.dims) != {"time", "region"}:
        raise InputError(
            f"the recorded BOLD has dimensions {tuple(recorded.dims)}, expected (time, region); name them so."
        )


def _standardised(
    recorded: xr.DataArray, inputs: Sequence[str] | None, measured: npt.NDArray[np.bool_] | None = None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Standard scores (time, region), of mean 0 and deviation 1 over measured volumes, and which regions are inputs."""
    _check_axes(recorded)
    z = standardise(np.asarray(recorded.transpose("time", "region"), dtype=np.float64), measured)
    regions = [str(name) for name in recorded["region"].values]
    return z, input_mask(regions, inputs) if inputs is not None else np.zeros(len(regions), dtype=np.bool_)


def input_mask(regions: Sequence[str], inputs: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Say for each region whether it is an input; an input that is no region is refused."""
    if isinstance(inputs, str) or not len(inputs):
        raise InputError(f"inputs is {inputs!r}, expected a list of region names; give for example ['Thalamus_L'].")
    for name in inputs:
        if name not in regions:
            raise InputError(
                f"input '{name}' is not among the {len(regions)} regions compared{nearest(str(name), regions)}."
            )
    return np.isin(np.asarray(regions), np.asarray(list(inputs)))


def _labelled(values: Floats, like: xr.DataArray) -> xr.DataArray:
    ordered = like.transpose("time", "region")
    return xr.DataArray(values, dims=("time", "region"), coords=ordered.coords, attrs={"units": "standard score"})
