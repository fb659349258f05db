"""From BOLD back to firing rates: the Balloon-Windkessel model inverted over a whole series at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from twinbrain.errors import InputError
from twinbrain.observe import Balloon, advance_balloon, bold_signal

__all__ = ["RATE_BOUNDS_HZ", "Deconvolved", "deconvolve", "predict_bold"]

Array = NDArray[np.float64]

RATE_BOUNDS_HZ = (0.7, 60.0)
"""Rates that a deconvolution keeps within, by default."""

_STEP_S = 4e-3  # of the Balloon model here; the error against 1 ms is far below that of a recording
_REFERENCE_HZ = 8.0  # where the one linear kernel is taken, the middle of the usual window
_KERNEL_S = 22.0  # length of the kernel; the response is over by then


@dataclass(frozen=True, eq=False)
class Deconvolved:
    """Firing rates that explain a BOLD series.

    Attributes
    ----------
    rate_hz
        (time, series) mean rate over the repetition time that ends with the sample, Hz.
    rate_sd_hz
        (time, series) Laplace approximation of its standard deviation, given the noise of BOLD, Hz.
    predicted
        (time, series) BOLD of these rates, fraction signal change; also where the observation is missing.
    start_up_hz
        (padding, series) rates of the rows put before the first sample, Hz.
    """

    rate_hz: Array
    rate_sd_hz: Array
    predicted: Array
    start_up_hz: Array


def predict_bold(rate_hz: Array, repetition_time_s: float, balloon: Balloon | None = None) -> Array:
    """Return the BOLD of rates that are constant over each repetition time.

    Before the first row the model rests at its fixed point for the rate of that row, as after a long warm-up.

    Parameters
    ----------
    rate_hz
        (time, series), Hz, not negative.
    repetition_time_s
        Length of a row, s.
    balloon
        Constants; default :class:`twinbrain.observe.Balloon`.

    Returns
    -------
    ndarray (time, series)
        BOLD at the end of each row, fraction signal change.

    Examples
    --------
    >>> predict_bold(np.full((3, 1), 10.0), 0.8).round(4).ravel().tolist()
    [0.0259, 0.0259, 0.0259]
    """
    constants = balloon or Balloon()
    rates = np.asarray(rate_hz, np.float64)
    substeps = max(1, math.ceil(repetition_time_s / _STEP_S - 1e-9))
    state = _fixed_point(rates[0], constants)
    result = np.empty_like(rates)
    for t, row in enumerate(rates):
        activity = np.repeat(row[None] / 1000.0, substeps, axis=0)
        advance_balloon(state, activity, repetition_time_s / substeps, balloon=constants)
        result[t] = bold_signal(state, constants)
    return result


def deconvolve(
    bold: Array,
    repetition_time_s: float,
    *,
    roughness: float = 3e-8,
    iterations: int = 6,
    rate_bounds_hz: tuple[float, float] = RATE_BOUNDS_HZ,
    padding_s: float = 0.0,
    noise_sd: float = 6e-4,
    balloon: Balloon | None = None,
) -> Deconvolved:
    r"""Find the firing rates whose BOLD, through the Balloon-Windkessel model, is the observed one.

    .. math:: r^* = \arg\min_r \sum_t w_t (y_t - B(r)_t)^2 + \lambda \sum_t (r_{t+1} - r_t)^2

    by Gauss-Newton steps with one linear kernel, the response of B to 1 Hz more for one repetition time at 8 Hz;
    the residual is that of the full model, so the kernel only steers. A missing sample has w = 0: there the
    neighbours and the roughness decide.

    Parameters
    ----------
    bold
        (time, series) BOLD on the model's scale, fraction signal change; NaN = missing.
    repetition_time_s
        s.
    roughness
        :math:`\lambda`, (fraction signal change)^2 per Hz^2; 3e-8 is best for 300 to 1,000 neurons (at 3e-7 the
        recovered rates correlate 0.985 instead of 0.995 with the true ones).
    iterations
        Gauss-Newton steps, default 6.
    rate_bounds_hz
        Rates are kept between these.
    padding_s
        Rows put before the first sample, without observation, so that the first samples need not be explained from
        rest. Default 0: the rates before the first sample equal the first, as in a replay that warms up on its
        first row.
    noise_sd
        Standard deviation of BOLD around the prediction, for ``rate_sd_hz`` only.
    balloon
        Constants.

    Returns
    -------
    Deconvolved

    Raises
    ------
    InputError
        If a setting is out of range, or a series has no observation.

    Notes
    -----
    ``rate_sd_hz`` is :math:`\sigma \sqrt{\mathrm{diag}(H^T W H + \lambda D^T D)^{-1}}`, the posterior of the linear
    model under a random-walk prior with steps of :math:`\sigma / \sqrt\lambda`, 3.5 Hz at the defaults.

    References
    ----------
    Friston, Mechelli, Turner, Price: Nonlinear responses in fMRI: the Balloon model, Volterra kernels, and other
    hemodynamics. NeuroImage 12 (2000) 466-477.

    Examples
    --------
    >>> rate = 8 + 3 * np.sin(np.arange(120) / 6)[:, None]
    >>> found = deconvolve(predict_bold(rate, 0.8), 0.8, roughness=1e-10).rate_hz
    >>> bool(np.abs(found - rate)[5:-5].max() < 0.3)
    True
    """
    y = np.asarray(bold, np.float64)
    low, high = rate_bounds_hz
    _check(y, repetition_time_s, roughness, iterations, (low, high), padding_s)
    constants = balloon or Balloon()
    padding = round(padding_s / repetition_time_s)
    y = np.concatenate([np.full((padding, y.shape[1]), np.nan), y])
    seen = np.isfinite(y)
    kernel = _linear_kernel(len(y), repetition_time_s, constants)
    difference = np.diff(np.eye(len(y)), axis=0)
    rough = roughness * difference.T @ difference
    patterns, which = np.unique(seen, axis=1, return_inverse=True)
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits for any number of threads
        inverses = [np.linalg.inv(kernel.T @ (kernel * p[:, None]) + rough) for p in patterns.T]
        rate = np.full(y.shape, min(max(_REFERENCE_HZ, low), high))
        for _ in range(iterations):
            residual = np.where(seen, y - predict_bold(rate, repetition_time_s, constants), 0.0)
            slope = kernel.T @ residual - rough @ rate
            step = np.empty_like(rate)
            for k, inverse in enumerate(inverses):
                columns = which.ravel() == k
                step[:, columns] = inverse @ slope[:, columns]
            rate = np.clip(rate + step, low, high)
    sd = np.stack([np.sqrt(np.diag(inverse)) for inverse in inverses], axis=1)[:, which.ravel()] * noise_sd
    predicted = predict_bold(rate, repetition_time_s, constants)
    return Deconvolved(rate[padding:], sd[padding:], predicted[padding:], rate[:padding])


def _check(
    y: Array, tr: float, roughness: float, iterations: int, bounds: tuple[float, float], padding_s: float
) -> None:
    rules = {
        "bold": (y.ndim == 2 and len(y) >= 3, y.shape, "(time, series) with at least 3 samples"),
        "repetition_time_s": (0 < tr < 100, tr, "seconds between 0 and 100"),
        "roughness": (0 < roughness < math.inf, roughness, "a number > 0, usually 3e-8"),
        "iterations": (iterations >= 1, iterations, "at least 1, usually 6"),
        "rate_bounds_hz": (0 <= bounds[0] < bounds[1] < math.inf, bounds, "two rising rates >= 0, usually (0.7, 60)"),
        "padding_s": (0 <= padding_s < 1000, padding_s, "seconds >= 0"),
    }
    for name, (fine, found, expected) in rules.items():
        if not fine:
            raise InputError(f"deconvolve: {name} is {found}, expected {expected}; change it")
    empty = np.flatnonzero(~np.isfinite(y).any(axis=0))
    if len(empty):
        raise InputError(f"deconvolve: series {empty[0]} has no finite sample, expected some; leave it out")


def _fixed_point(rate_hz: Array, b: Balloon) -> Array:
    """State (series, 4) at rest under a constant rate."""
    f = 1 + b.epsilon * b.tau_f * rate_hz / 1000.0
    v = f**b.alpha
    q = f * (1 - (1 - b.e0) ** (1 / f)) / b.e0 / v ** (1 / b.alpha - 1)
    return np.stack([np.zeros_like(f), f, v, q], axis=-1)


def _linear_kernel(rows: int, tr: float, balloon: Balloon) -> Array:
    """Matrix H (rows, rows): change of BOLD per Hz in each row, the first row standing for all time before it too."""
    length = math.ceil(_KERNEL_S / tr)
    rate = np.full((length + 1, 2), _REFERENCE_HZ)
    rate[1, 1] += 1.0
    response = np.diff(predict_bold(rate, tr, balloon), axis=1)[1:, 0]
    matrix = np.zeros((rows, rows))
    for i in range(rows):
        n = min(length, rows - i)
        matrix[i : i + n, i] = response[:n]
    tail = np.cumsum(response[::-1])[::-1]
    n = min(length, rows)
    matrix[:n, 0] = tail[:n]
    return matrix
