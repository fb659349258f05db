"""Linear autoregressive models of several series at once: fitted, their order chosen, run again with new noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from twinbrain.analyse._numeric import Floats, generator, is_constant
from twinbrain.errors import InputError

__all__ = ["Autoregression", "bic_of_orders", "fit_autoregression", "run_autoregression"]

# A column whose part independent of the columns before it is smaller than this share of it adds nothing but rounding.
_DEPENDENT = 1e-7
_SIMULATE = 31  # second half of the random key


@dataclass(frozen=True, eq=False)
class Autoregression:
    """A fitted model ``u_t = c + A_1 u_{t-1} + ... + A_p u_{t-p} + e_t`` of n channels.

    Attributes
    ----------
    coefficients
        (p, n, n): ``coefficients[k - 1, i, j]`` is the effect of channel j on channel i, k volumes later.
    residual_products
        (n, n) sum over volumes of the products of residuals.
    inverse_factor
        (n p, rows): a matrix W whose product ``W W'`` is the inverse of the regressors' products, rows in the order
        lag 1 channel 0, lag 1 channel 1, ..., lag p channel n - 1; the constant is left out.
    volumes
        Volumes that were predicted, T - p.
    free
        Residual degrees of freedom of each equation: volumes - n p - 1.

    Examples
    --------
    >>> x = run_autoregression([[[0.9]]], [[1.0]], 5000, seed=1)
    >>> model = fit_autoregression(x, 1)
    >>> bool(abs(model.coefficients[0, 0, 0] - 0.9) < 0.02), model.order
    (True, 1)
    """

    coefficients: Floats
    residual_products: Floats
    inverse_factor: Floats
    volumes: int
    free: int

    @property
    def order(self) -> int:
        """p, the number of lags."""
        return len(self.coefficients)

    @property
    def covariance(self) -> Floats:
        """(n, n) covariance of the noise: products of residuals over their degrees of freedom."""
        return self.residual_products / self.free

    @property
    def radius(self) -> float:
        """Largest modulus of the companion matrix's eigenvalues; the model is stationary if it is below 1."""
        return _radius(self.coefficients)


def fit_autoregression(values: Floats, order: int, *, names: tuple[str, ...] | None = None) -> Autoregression:
    """Fit by ordinary least squares, with a constant: one triangular factorisation for all channels.

    Parameters
    ----------
    values
        (time, channel), any units, evenly sampled.
    order
        Lags p, 1 or more.
    names
        Names of the channels for messages. Default: their numbers.

    Raises
    ------
    InputError
        If values are not finite, a channel is constant, channels depend on each other, or the series is too short.

    References
    ----------
    Lütkepohl (2005), New Introduction to Multiple Time Series Analysis, Springer, chapter 3.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(200, 3))
    >>> model = fit_autoregression(x, 2)
    >>> model.coefficients.shape, model.volumes, model.free
    ((2, 3, 3), 198, 191)
    """
    values, names = check_channels(values, names)
    n = values.shape[1]
    check_length(len(values), n, order)
    location, scale = values.mean(axis=0), values.std(axis=0)
    k = 1 + n * order
    factor = _triangle((values - location) / scale, order, order, names)
    solved = solve_triangular(factor[:k, :k], np.hstack([factor[:k, k:], np.eye(k)]))
    # back from standard scores to the units of the series
    lags = solved[1:, :n].reshape(order, n, n).transpose(0, 2, 1) * (scale[:, None] / scale)
    left = factor[k:, k:] * scale
    return Autoregression(
        coefficients=np.ascontiguousarray(lags),
        residual_products=left.T @ left,
        inverse_factor=solved[1:, n:] / np.tile(scale, order)[:, None],
        volumes=len(values) - order,
        free=len(values) - order - k,
    )


def bic_of_orders(values: Floats, max_order: int, *, names: tuple[str, ...] | None = None) -> Floats:
    """Bayesian information criterion of the orders 1 .. ``max_order``, all on the same volumes.

    ``BIC(p) = ln det S_p + (p n^2 + n) ln(m) / m`` with S_p the residual covariance (products over m) of the m =
    T - max_order volumes that every order can predict; the smallest is best.

    Parameters
    ----------
    values
        (time, channel), any units.
    max_order
        Largest number of lags.
    names
        Names of the channels for messages.

    Returns
    -------
    (max_order,) array, natural logarithms; differences between channels' units shift it as a whole.

    Raises
    ------
    InputError
        As :func:`fit_autoregression`.

    References
    ----------
    Schwarz (1978), Annals of Statistics 6:461; Lütkepohl (2005), section 4.3.

    Examples
    --------
    >>> x = run_autoregression([[[0.2]], [[0.7]]], [[1.0]], 2000, seed=1)
    >>> int(np.argmin(bic_of_orders(x, 6))) + 1
    2
    """
    values, names = check_channels(values, names)
    n = values.shape[1]
    check_length(len(values), n, max_order)
    scale = values.std(axis=0)
    # Columns are ordered by lag, so the factor of every smaller model is a corner of the largest one's.
    factor = _triangle((values - values.mean(axis=0)) / scale, max_order, max_order, names)
    last = 1 + n * max_order
    m = len(values) - max_order
    result = np.empty(max_order)
    for p in range(1, max_order + 1):
        left = factor[1 + n * p :, last:]
        result[p - 1] = np.linalg.slogdet(left.T @ left / m)[1] + (p * n**2 + n) * np.log(m) / m
    return np.asarray(result + 2.0 * np.log(scale).sum())


def run_autoregression(
    coefficients: object, covariance: object, volumes: int, *, draw: int = 0, seed: int = 0
) -> Floats:
    """Run ``u_t = A_1 u_{t-1} + ... + e_t`` with Gaussian noise from its stationary state (after a run-in).

    Parameters
    ----------
    coefficients
        (p, n, n), see :class:`Autoregression`.
    covariance
        (n, n) of the noise.
    volumes
        Length of the result.
    draw
        Which of the many runs of one seed. Default 0.
    seed
        Key of the random numbers.

    Returns
    -------
    (volumes, n) array around 0.

    Raises
    ------
    InputError
        If the shapes do not fit or the model is not stationary.

    Examples
    --------
    >>> run_autoregression([[[0.5, 0.0], [0.3, 0.5]]], [[1.0, 0.0], [0.0, 1.0]], 100).shape
    (100, 2)
    """
    a = np.asarray(coefficients, dtype=np.float64)
    sigma = np.asarray(covariance, dtype=np.float64)
    if a.ndim != 3 or a.shape[1] != a.shape[2] or sigma.shape != a.shape[1:] or volumes < 1:
        raise InputError(
            f"coefficients have shape {a.shape}, the noise covariance {sigma.shape} and volumes is {volumes}, expected "
            "(order, n, n), (n, n) and 1 or more; mend the shapes."
        )
    radius = _radius(a)
    if radius >= 1:
        raise InputError(
            f"the autoregressive model has spectral radius {radius:.3f}, expected below 1 so that it does not run "
            "away; use smaller coefficients, or detrend the series it was fitted to."
        )
    order, n = a.shape[:2]
    # what is left of the start (zeros) falls to 1e-8; a model that forgets more slowly is near its bound anyway
    run_in = order + int(min(np.ceil(np.log(1e-8) / np.log(max(radius, 0.1))), 20_000))
    values, vectors = np.linalg.eigh(sigma)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    noise = generator(seed, _SIMULATE + (draw << 8)).normal(size=(run_in + volumes, n)) @ root.T
    stacked = a.transpose(1, 0, 2).reshape(n, order * n)  # newest volume first
    u = np.zeros((order + run_in + volumes, n))
    for t in range(run_in + volumes):
        u[order + t] = stacked @ u[t : t + order][::-1].ravel() + noise[t]
    return u[order + run_in :]


def check_channels(values: Floats, names: tuple[str, ...] | None) -> tuple[Floats, tuple[str, ...]]:
    """Refuse what no autoregression can be fitted to, naming the channel."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 1 or len(values) < 3:
        raise InputError(
            f"the series has shape {values.shape}, expected (time, channel) with at least 3 volumes; use a longer one."
        )
    names = names or tuple(str(i) for i in range(values.shape[1]))
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        t, i = bad[0]
        raise InputError(
            f"channel '{names[i]}' is {values[t, i]} at volume {t}, expected finite values; cut or interpolate it."
        )
    flat = np.flatnonzero(is_constant(values))
    if len(flat):
        raise InputError(
            f"channel '{names[flat[0]]}' does not vary, expected a signal to predict; leave the channel out."
        )
    centred = (values - values.mean(axis=0)) / values.std(axis=0)
    own = np.abs(np.diag(np.linalg.qr(centred, mode="r")))
    if len(own) < values.shape[1] or (own < _DEPENDENT * np.sqrt(len(values))).any():
        i = int(np.argmin(own)) if len(own) == values.shape[1] else len(own)
        raise InputError(
            f"channel '{names[i]}' is a weighted sum of the channels before it, expected channels that carry "
            "something of their own; leave it out, or undo the regression (such as of the global mean) that ties them."
        )
    return values, names


def check_length(volumes: int, channels: int, order: int) -> None:
    """Ask for more volumes than regressors, and residuals enough for all channels."""
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or order < 1:
        raise InputError(f"the order is {order!r}, expected a whole number of lags from 1; give for example 2.")
    needed = order + 1 + channels * (order + 1)
    if volumes < needed:
        possible = (volumes - 1 - channels) // (channels + 1)
        advice = f"lower the (largest) order to {possible}" if possible >= 1 else "choose fewer channels"
        raise InputError(
            f"the series has {volumes} volumes of {channels} channels, expected at least {needed} for order {order}; "
            f"{advice} or use a longer series."
        )


def _triangle(z: Floats, order: int, first: int, names: tuple[str, ...]) -> Floats:
    """Triangular factor of [1, lag 1, ..., lag p, present], of the volumes from ``first`` on."""
    m, n = len(z) - first, z.shape[1]
    table = np.empty((m, 1 + n * (order + 1)))
    table[:, 0] = 1.0
    for k in range(1, order + 1):
        table[:, 1 + (k - 1) * n : 1 + k * n] = z[first - k : len(z) - k]
    table[:, 1 + n * order :] = z[first:]
    factor: Floats = np.asarray(np.linalg.qr(table, mode="r"))
    own, size = np.abs(np.diag(factor)), np.linalg.norm(table, axis=0)
    dependent = np.flatnonzero(own < _DEPENDENT * size)
    if len(dependent):
        lag, i = divmod(int(dependent[0]) - 1, n)
        raise InputError(
            f"channel '{names[i]}' can be predicted without error from {lag} volumes before, so an order above {lag} "
            "has no answer; lower the order, or give series that are not smoothed, interpolated or noiseless."
            if lag
            else f"channel '{names[i]}' at lag 1 repeats the channels before it; use a longer series."
        )
    return factor


def _radius(coefficients: Floats) -> float:
    order, n = coefficients.shape[:2]
    companion = np.zeros((order * n, order * n))
    companion[:n] = coefficients.transpose(1, 0, 2).reshape(n, order * n)
    companion[n:, :-n] += np.eye((order - 1) * n)
    return float(np.abs(np.linalg.eigvals(companion)).max())
