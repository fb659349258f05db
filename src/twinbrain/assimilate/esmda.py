"""Ensemble smoother with multiple data assimilation: the whole series at once, with its uncertainty.

Every member is a network driven along the whole recording, without any correction while it runs; then each current
h(t) of each member is corrected by the BOLD that follows it. Nothing is overwritten, so that what the ensemble
believes about the currents is what a free run of them would do.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from twinbrain.assimilate.answer import Build
from twinbrain.assimilate.inverse import mean_pcc
from twinbrain.assimilate.journal import Journal
from twinbrain.assimilate.replay import Replayed, least_members, replay
from twinbrain.assimilate.settings import random_stream
from twinbrain.assimilate.transform import check_bounds
from twinbrain.assimilate.units import Units
from twinbrain.errors import InputError

__all__ = ["EsmdaSettings", "Smoothed", "autoregressive_ensemble", "local_update", "resampled", "run_esmda"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]
_OF_PRIOR, _OF_STEP = 2**64 - 101, 2**64 - 111


@dataclass(frozen=True)
class EsmdaSettings:
    """The numbers of the smoother.

    Attributes
    ----------
    members
        Networks in the ensemble, >= 3.
    bounds
        Smallest and largest drive, model units of current.
    steps
        Na, how often the whole series is assimilated, each time with the observation variance times Na. One is
        enough from a prior as good as the inverse, three from a flat one.
    prior_sd, prior_correlation
        Of the first-order autoregressive prior around its mean: standard deviation (model units of current) and
        correlation from one volume to the next.
    observation_variance
        R of the observation at the same volume, (fraction signal change) squared.
    lag
        Later volumes that correct a current as well; the response to it is over after 13 (10 s).
    lag_scale
        R grows as exp(lag / lag_scale): localisation in time.
    warm_up
        Repetition times at the first drive before the first volume.
    min_members
        Fewer healthy members stop the work; default two thirds.
    seed
        Of everything random.

    Examples
    --------
    >>> EsmdaSettings(members=45).steps
    1
    """

    members: int = 30
    bounds: tuple[float, float] = (-0.08, 0.3)
    steps: int = 1
    prior_sd: float = 0.006
    prior_correlation: float = 0.9
    observation_variance: float = 3.6e-7
    lag: int = 13
    lag_scale: float = 8.0
    warm_up: int = 10
    min_members: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings the algebra cannot work with."""
        check_bounds(self.bounds)
        rules = {
            "members": (self.members >= 3, "at least 3"),
            "steps": (1 <= self.steps <= 20, "1 to 20, usually 1 from the inverse and 3 from a flat prior"),
            "prior_sd": (0 < self.prior_sd < math.inf, "a number > 0, usually 0.006"),
            "prior_correlation": (0 <= self.prior_correlation < 1, "0 to below 1, usually 0.9"),
            "observation_variance": (
                0 < self.observation_variance < math.inf,
                "a number > 0 (an observation without error leaves no spread), usually 3.6e-7",
            ),
            "lag": (self.lag >= 0, "a number of repetition times >= 0, usually 13"),
            "lag_scale": (self.lag_scale > 0, "a number of repetition times > 0, usually 8"),
            "warm_up": (self.warm_up >= 0, "a number of repetition times >= 0, usually 10"),
            "min_members": (
                self.min_members is None or 2 <= self.min_members <= self.members,
                f"2 to {self.members} members, or nothing for two thirds",
            ),
            "seed": (0 <= self.seed < 2**64, "a number from 0 to 2**64 - 1"),
        }
        for name, (fine, expected) in rules.items():
            if not fine:
                raise InputError(f"{name}: found {getattr(self, name)!r}, expected {expected}; change the setting")


@dataclass(frozen=True, eq=False)
class Smoothed:
    """What the smoother leaves behind.

    Attributes
    ----------
    drive
        (time, member, unit) h of every member after the last step, model units of current.
    replayed
        The run of the ensemble before the last correction.
    at_bounds
        Share of values stopped at the bounds.
    replaced
        (event, 4): step, row, member that was lost, member it became a copy of.
    figures
        For the record.
    """

    drive: Array
    replayed: Replayed
    at_bounds: float
    replaced: NDArray[np.int64]
    figures: dict[str, float | str]


def autoregressive_ensemble(rows: int, members: int, units: int, correlation: float, rng: np.random.Generator) -> Array:
    """Return unit-variance series x(t) = c x(t - 1) + sqrt(1 - c^2) xi, centred over the members.

    Examples
    --------
    >>> x = autoregressive_ensemble(50, 20, 2, 0.9, np.random.default_rng(0))
    >>> x.shape, bool(np.abs(x.mean(axis=1)).max() < 1e-12)
    ((50, 20, 2), True)
    """
    x = rng.standard_normal((rows, members, units))
    for t in range(1, rows):
        x[t] = correlation * x[t - 1] + math.sqrt(1 - correlation**2) * x[t]
    return np.asarray(x - x.mean(axis=1, keepdims=True), np.float64)


def local_update(
    state: Array, predicted: Array, observed: Array, variance: float, lag: int, lag_scale: float, noise: Array
) -> Array:
    r"""Correct a series by the observations that follow each of its values.

    For every t, with :math:`l = 0 \dots L` and :math:`R_l = R e^{l / \lambda}`,

    .. math:: x_e(t) \leftarrow x_e(t) + \sum_l K_l(t)\,
              [y(t+l) + \sqrt{R_l}\, \xi_e(t+l) - \hat y_e(t+l)], \qquad
              K(t) = P_{xy} (P_{yy} + \mathrm{diag} R_l)^{-1},

    with the covariances of the ensemble. Missing observations take no part.

    Parameters
    ----------
    state
        (time, member) parameter of one unit.
    predicted
        (time, member) its prediction of the observation.
    observed
        (time,), NaN = missing; unit of ``predicted``.
    variance
        R, > 0; unit of ``predicted`` squared.
    lag, lag_scale
        L and lambda, in rows.
    noise
        (time, member) standard normal numbers xi.

    Returns
    -------
    ndarray (time, member)

    References
    ----------
    Emerick, Reynolds: Ensemble smoother with multiple data assimilation. Computers & Geosciences 55 (2013) 3-15.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)[None] + np.zeros((3, 1))
    >>> local_update(x, x, np.array([0.5, np.nan, 0.5]), 1e-9, 0, 8, x * 0).mean(axis=1).round(4)
    array([ 0.5, -0. ,  0.5])
    """
    rows, members = state.shape
    seen = np.isfinite(observed)
    window = np.arange(rows)[:, None] + np.arange(lag + 1)
    inside = window < rows
    window = np.minimum(window, rows - 1)
    used = inside & seen[window]
    error = variance * np.exp(np.arange(lag + 1) / lag_scale)
    anomaly = np.where(seen[:, None], predicted - predicted.mean(axis=1, keepdims=True), 0.0)
    innovation = np.where(seen[:, None], observed[:, None] - predicted, 0.0)
    dy = anomaly[window] * used[:, :, None]
    pull = (innovation[window] + np.sqrt(error)[:, None] * noise[window]) * used[:, :, None]
    dx = state - state.mean(axis=1, keepdims=True)
    with threadpool_limits(limits=1, user_api="blas"):
        covariance = dy @ dy.transpose(0, 2, 1) / (members - 1)
        covariance[:, np.arange(lag + 1), np.arange(lag + 1)] += error
        cross = np.einsum("tle,te->tl", dy, dx) / (members - 1)
        weight = np.linalg.solve(covariance, pull)
    return np.asarray(state + np.einsum("tl,tle->te", cross, weight), np.float64)


def resampled(
    run: Replayed, healthy_least: int, rng: np.random.Generator, step: int
) -> tuple[NDArray[np.int64], list[tuple[int, int, int, int]]]:
    """Say which member stands for which: itself, or a healthy one drawn at random for one that was lost.

    Parameters
    ----------
    run
        What the members did.
    healthy_least
        Of how many at least; :func:`~twinbrain.assimilate.replay.replay` has checked it.
    rng
        Draws the donors.
    step
        Number of the step, for the record.

    Returns
    -------
    ndarray (member,), list of (step, row, member, donor)

    Examples
    --------
    >>> none = np.zeros((1, 3, 1))
    >>> run = Replayed(none, none, none, np.array([-1, 7, -1]))
    >>> resampled(run, 2, np.random.default_rng(0), 1)[0].tolist() in ([0, 0, 2], [0, 2, 2])
    True
    """
    stands = np.arange(len(run.lost))
    healthy = np.flatnonzero(run.lost < 0)
    assert len(healthy) >= healthy_least
    events = []
    for member in np.flatnonzero(run.lost >= 0).tolist():
        donor = int(rng.choice(healthy))
        stands[member] = donor
        events.append((step, int(run.lost[member]), member, donor))
        _log.warning(
            "step %d: member %d, lost in volume %d, goes on as a copy of %d", step, member, run.lost[member], donor
        )
    return stands, events


def run_esmda(
    build: Build,
    units: Units,
    observed: Array,
    prior: Array,
    repetition_time_s: float,
    settings: EsmdaSettings,
    journal: Journal,
) -> Smoothed:
    """Estimate the drives of all units with their spread.

    Parameters
    ----------
    build
        Makes an ensemble from keys of wiring and noise; every step gets a wiring of its own.
    units
        The inputs, K of them.
    observed
        (time, K) target BOLD, fraction signal change, NaN = missing.
    prior
        (time, K) mean of the prior of h.
    repetition_time_s
        s.
    settings
        Of the smoother.
    journal
        Keeps the pieces.

    Returns
    -------
    Smoothed

    Raises
    ------
    InputError
        If too many members are lost.

    References
    ----------
    Emerick, Reynolds: Ensemble smoother with multiple data assimilation. Computers & Geosciences 55 (2013) 3-15.
    """
    s = settings
    low, high = s.bounds
    rng = random_stream(s.seed, _OF_PRIOR)
    shape = (len(observed), s.members, len(units.names))
    h = prior[:, None] + s.prior_sd * autoregressive_ensemble(*shape, s.prior_correlation, rng)
    h = np.clip(h, low, high)
    figures: dict[str, float | str] = {"prior_spread": float(h.std(axis=1, ddof=1).mean())}
    least = least_members(s.members, s.min_members)
    replaced: list[tuple[int, int, int, int]] = []
    share = 0.0
    for step in range(1, s.steps + 1):
        rng = random_stream(s.seed, _OF_STEP - step)
        keys = int(rng.integers(2**62)), int(rng.integers(2**62))
        piece = f"ensemble run {step}"
        engine = build(*keys) if journal.finished(piece) is None else None
        run = replay(engine, units, h, repetition_time_s, s.warm_up, journal, piece, least)
        stands, events = resampled(run, least, rng, step)
        replaced += events
        run = Replayed(run.rate[:, stands], run.bold[:, stands], run.seen[:, stands], run.lost)
        h = h[:, stands]
        figures[f"step_{step}_bold_pcc"] = mean_pcc(run.seen.mean(axis=1), observed)
        variance = s.steps * s.observation_variance
        corrected = np.empty_like(h)
        for j in range(shape[2]):
            noise = rng.standard_normal(shape[:2])
            corrected[:, :, j] = local_update(
                h[:, :, j], run.seen[:, :, j], observed[:, j], variance, s.lag, s.lag_scale, noise
            )
        share = float(np.mean((corrected < low) | (corrected > high)))
        h = np.clip(corrected, low, high)
        figures[f"step_{step}_spread"] = float(h.std(axis=1, ddof=1).mean())
    return Smoothed(h, run, share, np.array(replaced, np.int64).reshape(-1, 4), figures)
