"""Ensemble algebra: three ways to correct an ensemble by an observation, as plain functions on arrays.

Arrays are float64 and axis 0 is always the member. The first function is the update of the distributed
(diffusion) filter, which mixes the correction by a unit's own observation with the mean of the corrections
all units propose. The other two are the textbook ensemble Kalman filters for a joint observation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from twinbrain.errors import InputError

__all__ = ["mixed_gain_update", "square_root_update", "stochastic_update"]

Array = NDArray[np.float64]


def mixed_gain_update(
    state: ArrayLike,
    predicted: ArrayLike,
    observed: ArrayLike,
    variance: ArrayLike,
    noise: ArrayLike,
    local_gain: float = 0.5,
) -> Array:
    r"""Correct every unit by its own observation and by the mean of what all observations propose.

    With anomalies :math:`D = w - \bar w` and :math:`d = \hat y - \bar{\hat y}` over the members e,

    .. math::

        S_v &= \sum_e d_{ev}^2 / (E-1) + R_v \\
        K_{v \to (v',c)} &= \sum_e d_{ev} D_{ev'c} / ((E-1) S_v) \\
        r_{ev} &= y_v + \sqrt{R_v}\, \xi_{ev} - \hat y_{ev} \\
        w'_{ev'c} &= w_{ev'c} + \rho K_{v' \to (v',c)} r_{ev'}
                     + (1-\rho) \frac1V \sum_v K_{v \to (v',c)} r_{ev}

    Both terms start from the same forecast and share one draw of :math:`\xi`. A unit whose observation is
    missing (NaN) keeps its forecast and takes no part in the mean.

    Parameters
    ----------
    state
        (member, unit, component): anything to be corrected; here parameters now and earlier, Balloon state.
    predicted
        (member, unit): what each member predicts for the observation.
    observed
        (unit,): the observation, NaN where missing; unit of ``predicted``.
    variance
        Observation variance R, scalar or (unit,), > 0; unit of ``predicted`` squared.
    noise
        (member, unit): standard normal numbers :math:`\xi`; zeros leave the observation unperturbed.
    local_gain
        :math:`\rho` in [0, 1]: 1 = own observation only, 0 = mean gain only. Default 0.5, as published.

    Returns
    -------
    numpy.ndarray
        The corrected ensemble, (member, unit, component); the input is not changed.

    Raises
    ------
    InputError
        For fewer than two members, shapes that do not fit, an observation variance <= 0, rho outside [0, 1].

    Notes
    -----
    Sums are written with ``einsum`` without BLAS, so that the result does not depend on a number of threads.

    References
    ----------
    Zhang, Chen, Feng, Lu: On a framework of data assimilation for hyperparameter estimation of spiking
    neuronal networks, Neural Networks 2024 (arXiv:2206.02986), in its distributed form.

    Examples
    --------
    Two members, one unit, state equal to the prediction: the mean moves by the Kalman gain 2 / (2 + 2).

    >>> forecast = np.array([[1.0], [3.0]])
    >>> mixed_gain_update(forecast[:, :, None], forecast, [4.0], 2.0, np.zeros((2, 1))).mean().item()
    3.0
    """
    w = np.asarray(state, dtype=np.float64)
    y = np.asarray(predicted, dtype=np.float64)
    obs = np.asarray(observed, dtype=np.float64)
    xi = np.asarray(noise, dtype=np.float64)
    if w.ndim != 3 or y.shape != w.shape[:2] or obs.shape != w.shape[1:2] or xi.shape != y.shape:
        raise InputError(
            f"mixed_gain_update: found shapes state {w.shape}, predicted {y.shape}, observed {obs.shape}, "
            f"noise {xi.shape}, expected (E, V, C), (E, V), (V,), (E, V); pass arrays that agree"
        )
    members = _check_members(w)
    if not 0.0 <= local_gain <= 1.0:
        raise InputError(f"local_gain: found {local_gain:g}, expected 0 to 1; 1 uses a region's own observation only")
    seen = np.isfinite(obs)
    result = w.copy()
    if not seen.any():
        return result
    r_variance = _check_variance(np.broadcast_to(np.asarray(variance, dtype=np.float64), obs.shape)[seen])
    anomaly = w[:, seen] - w[:, seen].mean(axis=0)
    dy = y[:, seen] - y[:, seen].mean(axis=0)
    total = np.einsum("ev,ev->v", dy, dy) / (members - 1) + r_variance
    gain = dy / (total * (members - 1))
    innovation = obs[seen] + np.sqrt(r_variance) * xi[:, seen] - y[:, seen]
    local = innovation[:, :, None] * np.einsum("ev,evc->vc", gain, anomaly)
    # sum over observations first: member x member weights cost V times less than the full gain matrix
    weight = np.einsum("ev,fv->ef", innovation, gain) / int(seen.sum())
    mean = np.einsum("ef,fvc->evc", weight, anomaly)
    result[:, seen] += local_gain * local + (1.0 - local_gain) * mean
    return result


def square_root_update(state: ArrayLike, predicted: ArrayLike, observed: ArrayLike, variance: ArrayLike) -> Array:
    r"""Correct an ensemble by a joint observation without random numbers (ensemble transform Kalman filter).

    With anomalies X (state) and Y (prediction), one column per member, and
    :math:`C = (E-1) I + Y^T R^{-1} Y`, the analysis is :math:`\bar x + X (\bar w 1^T + W)`,
    :math:`\bar w = C^{-1} Y^T R^{-1} (y - \bar{\hat y})`, :math:`W = \sqrt{E-1}\, C^{-1/2}` (symmetric).
    Its mean and covariance are, to rounding, those of the Kalman formulas on the sample moments: gain
    :math:`K = P_{xy} (P_{yy} + R)^{-1}`, covariance :math:`P_{xx} - K P_{yx}`.

    Parameters
    ----------
    state
        (member, component).
    predicted
        (member, observation).
    observed
        (observation,); NaN = missing, left out.
    variance
        Variance of independent observation errors, scalar or (observation,), > 0.

    Returns
    -------
    numpy.ndarray
        The corrected ensemble, (member, component).

    Raises
    ------
    InputError
        For fewer than two members, shapes that do not fit, or a variance <= 0.

    References
    ----------
    Hunt, Kostelich, Szunyogh: Efficient data assimilation for spatiotemporal chaos: a local ensemble
    transform Kalman filter. Physica D 230 (2007) 112-126.

    Examples
    --------
    >>> x = np.array([[0.0], [2.0]])                          # variance 2, observed with variance 2
    >>> after = square_root_update(x, x, [3.0], 2.0)
    >>> round(after.mean(), 12).item(), round(after.var(ddof=1), 12).item()
    (2.0, 1.0)
    """
    x, y, obs, r_variance = _joint(state, predicted, observed, variance)
    members = len(x)
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    scaled = dy / r_variance
    precision = (members - 1) * np.eye(members) + np.einsum("em,fm->ef", scaled, dy)
    with threadpool_limits(limits=1, user_api="blas"):  # LAPACK's blocking must not follow the thread count
        value, vector = np.linalg.eigh(precision)
    pull = np.einsum("em,m->e", scaled, obs - y.mean(axis=0))
    shift = np.einsum("ek,k,fk,f->e", vector, 1.0 / value, vector, pull, optimize=False)
    root = np.einsum("ek,k,fk->ef", vector, np.sqrt((members - 1) / value), vector, optimize=False)
    return np.asarray(x.mean(axis=0) + np.einsum("fe,fn->en", shift[:, None] + root, dx), dtype=np.float64)


def stochastic_update(
    state: ArrayLike, predicted: ArrayLike, observed: ArrayLike, variance: ArrayLike, noise: ArrayLike
) -> Array:
    r"""Correct an ensemble by a joint observation, each member with its own perturbed copy of it (EnKF).

    :math:`x'_e = x_e + P_{xy} (P_{yy} + R)^{-1} (y + \sqrt R\, \xi_e - \hat y_e)`: mean and covariance
    follow the Kalman formulas up to a sampling error of order :math:`E^{-1/2}`.

    Parameters
    ----------
    state
        (member, component).
    predicted
        (member, observation).
    observed
        (observation,); NaN = missing, left out.
    variance
        Variance of independent observation errors, scalar or (observation,), > 0.
    noise
        (member, observation): standard normal numbers.

    Returns
    -------
    numpy.ndarray
        The corrected ensemble, (member, component).

    Raises
    ------
    InputError
        For fewer than two members, shapes that do not fit, or a variance <= 0.

    References
    ----------
    Burgers, van Leeuwen, Evensen: Analysis scheme in the ensemble Kalman filter.
    Monthly Weather Review 126 (1998) 1719-1724.

    Examples
    --------
    >>> x = np.array([[0.0], [2.0]])
    >>> stochastic_update(x, x, [3.0], 2.0, np.zeros((2, 1))).ravel().tolist()
    [1.5, 2.5]
    """
    xi = np.asarray(noise, dtype=np.float64)
    if xi.shape != np.shape(predicted):
        raise InputError(
            f"stochastic_update: found noise of shape {xi.shape}, expected {np.shape(predicted)}; "
            "draw one number per member and observation"
        )
    xi = xi[:, np.isfinite(np.asarray(observed, dtype=np.float64))]
    x, y, obs, r_variance = _joint(state, predicted, observed, variance)
    members = len(x)
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    cross = np.einsum("en,em->nm", dx, dy) / (members - 1)
    total = np.einsum("em,ek->mk", dy, dy) / (members - 1) + np.diag(r_variance)
    innovation = obs + np.sqrt(r_variance) * xi - y
    with threadpool_limits(limits=1, user_api="blas"):
        weight = np.linalg.solve(total, innovation.T)
    return np.asarray(x + np.einsum("nm,me->en", cross, weight), dtype=np.float64)


def _check_members(state: Array) -> int:
    if len(state) < 2:
        raise InputError(f"ensemble: found {len(state)} member(s), expected at least 2; enlarge members=")
    return len(state)


def _check_variance(variance: Array) -> Array:
    if not (variance > 0).all():  # also catches NaN
        raise InputError(
            f"observation variance: found {variance.min():g}, expected a number > 0; "
            "an observation without error leaves the ensemble without spread: give e.g. 1e-8"
        )
    return variance


def _joint(
    state: ArrayLike, predicted: ArrayLike, observed: ArrayLike, variance: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Check the arguments of a joint update and leave the missing observations out."""
    x, y, obs = (np.asarray(a, dtype=np.float64) for a in (state, predicted, observed))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or obs.shape != y.shape[1:]:
        raise InputError(
            f"ensemble update: found shapes state {x.shape}, predicted {y.shape}, observed {obs.shape}, "
            "expected (E, N), (E, M), (M,); pass arrays that agree"
        )
    _check_members(x)
    seen = np.isfinite(obs)
    r_variance = np.broadcast_to(np.asarray(variance, dtype=np.float64), obs.shape)[seen]
    return x, y[:, seen], obs[seen], _check_variance(r_variance) if seen.any() else r_variance
