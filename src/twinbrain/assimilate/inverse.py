r"""The inverse: from recorded BOLD to firing rates, and from firing rates to the currents that make them.

Deconvolution gives the rates that explain the recording (:mod:`twinbrain.assimilate.deconvolve`). The currents
follow from how the network answers: for a few inputs from a table of its rates with all inputs moved together, so
that the loop through the connectome is part of the table; for many inputs from the linear network,

.. math:: h_{in}(t) = a\, [(1 - k C)\, \delta r(t)]_{in}, \quad
          \delta r_{free} = (1 - k C_{nn})^{-1} k C_{n,in}\, \delta r_{in},

where the regions without a current follow. Free runs of a few networks then show what is left to correct.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinbrain.assimilate.answer import Build, Calibrated, Field, Table, answer_ticks, measure_field, measure_table
from twinbrain.assimilate.deconvolve import Deconvolved, deconvolve
from twinbrain.assimilate.journal import Journal
from twinbrain.assimilate.replay import Replayed, replay, too_few
from twinbrain.assimilate.settings import random_stream
from twinbrain.assimilate.transform import check_bounds
from twinbrain.assimilate.units import Units
from twinbrain.errors import InputError

__all__ = ["InverseSettings", "Inverted", "mean_pcc", "run_inverse", "ticks", "window", "wiring_keys"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]
_LARGE = 1000  # neurons per region, over all repeats, whose mean rate may be believed volume by volume
_OF_WIRING = 2**64 - 3


@dataclass(frozen=True)
class InverseSettings:
    """The numbers of the inverse.

    Attributes
    ----------
    bounds
        Smallest and largest drive; two-sided, since with many inputs some regions need a negative current.
    roughness
        Of the rates, see :func:`~twinbrain.assimilate.deconvolve.deconvolve`.
    corrections
        Free runs after each of which the drive is corrected, at most 2.
    repeats
        Networks with wirings of their own that are averaged in the table, the step test and the corrections.
    gain
        Share of the error in time that one correction removes; of the error of the mean all is removed.
    many
        More inputs than this are inverted through the connectome instead of a table.
    warm_up
        Repetition times at the first drive before the first volume of a correction run.
    padding_s
        Rows before the first volume in the deconvolution, s.
    seed
        Of everything random.

    Examples
    --------
    >>> InverseSettings(corrections=2).repeats
    4
    """

    bounds: tuple[float, float] = (-0.08, 0.3)
    roughness: float = 3e-8
    corrections: int = 1
    repeats: int = 4
    gain: float = 0.6
    many: int = 20
    warm_up: int = 10
    padding_s: float = 12.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        check_bounds(self.bounds)
        rules = {
            "corrections": (0 <= self.corrections <= 2, "0, 1 or 2 (more corrections learn the noise)"),
            "repeats": (1 <= self.repeats <= 1000, "at least 1 network, usually 4"),
            "gain": (0 < self.gain <= 1, "above 0 and at most 1, usually 0.6"),
            "many": (self.many >= 0, "a number of inputs >= 0, usually 20"),
            "warm_up": (self.warm_up >= 0, "a number of repetition times >= 0, usually 10"),
            "seed": (0 <= self.seed < 2**64, "a number from 0 to 2**64 - 1"),
        }
        for name, (fine, expected) in rules.items():
            if not fine:
                raise InputError(f"{name}: found {getattr(self, name)!r}, expected {expected}; change the setting")


@dataclass(frozen=True, eq=False)
class Inverted:
    """What the inverse leaves behind.

    Attributes
    ----------
    drive
        (time, unit) h, model units of current.
    spread
        (time, unit) standard deviation of h that the noise of BOLD leaves open (Laplace approximation).
    rates
        The deconvolved rates.
    replayed
        The last free run, averaged: rate (time, 1, unit), bold (time, 1, region); None without corrections.
    spread_bold
        (time, region) standard deviation of BOLD between the networks of that run, None without.
    figures
        For the record: slope, loop gain, errors before each correction.
    at_bounds
        Share of values that had to be stopped at the bounds.
    """

    drive: Array
    spread: Array
    rates: Deconvolved
    replayed: Replayed | None
    spread_bold: Array | None
    figures: dict[str, float | str]
    at_bounds: float


def window(inputs: int) -> tuple[float, float]:
    """Return mean and scale of the target that suit a number of inputs.

    A wide signal is worth as much as many neurons; how wide it may be depends on how many inputs push together
    before the network leaves its low state: 0.030 + 0.008 z for up to 4 inputs (4 to 30 Hz), 0.026 + 0.006 z for
    up to 19, 0.022 + 0.004 z from 20 on.

    Examples
    --------
    >>> window(2), window(10), window(94)
    ((0.03, 0.008), (0.026, 0.006), (0.022, 0.004))
    """
    if inputs <= 4:
        return 0.030, 0.008
    return (0.026, 0.006) if inputs < 20 else (0.022, 0.004)


def ticks(rows: int, units: int, settings: InverseSettings) -> int:
    """Return how many ticks of the progress the whole work takes, at most."""
    return settings.repeats * (answer_ticks(units <= settings.many) + settings.corrections * rows)


def run_inverse(
    build: Build,
    units: Units,
    observed: Array,
    projection: Array,
    repetition_time_s: float,
    settings: InverseSettings,
    journal: Journal,
    *,
    working_point: Calibrated | None = None,
    neurons_per_region: float = 100.0,
) -> Inverted:
    """Invert the observations of all units.

    Parameters
    ----------
    build
        Makes the networks.
    units
        The inputs, K of them.
    observed
        (time, K) target BOLD, fraction signal change, NaN = missing.
    projection
        (R, R) connectome between regions, rows sum to 1.
    repetition_time_s
        s.
    settings
        Of the inverse.
    journal
        Keeps the pieces.
    working_point
        Calibrated loop gain, slope and, if its inputs are the same, table of rates; else they are measured.
    neurons_per_region
        Of the networks built: decides how far a correction may follow the averaged rates volume by volume.

    Returns
    -------
    Inverted

    Raises
    ------
    InputError
        If the network does not answer to currents, or is lost.
    """
    rates = deconvolve(observed, repetition_time_s, roughness=settings.roughness, padding_s=settings.padding_s)
    answer: Table | Field
    keys = wiring_keys(settings, 0)
    if len(units.names) <= settings.many:
        answer = measure_table(build, units, float(rates.rate_hz.max()), settings, keys, journal, working_point)
    else:
        answer = measure_field(build, units, projection, rates.rate_hz, settings, keys, journal, working_point)
    wanted = answer.current(rates.rate_hz)
    figures: dict[str, float | str] = dict(answer.figures)
    figures["rate_target_mean_hz"] = float(rates.rate_hz.mean())
    figures["rate_target_highest_hz"] = float(rates.rate_hz.max())
    drive, share = _bounded(wanted, settings)
    done: Replayed | None = None
    spread: Array | None = None
    for number in range(1, settings.corrections + 1):
        done, spread = _free_runs(build, units, drive, repetition_time_s, settings, journal, number)
        found = done.rate[:, 0]
        figures[f"correction_{number}_rate_bias_hz"] = float((found - rates.rate_hz).mean())
        figures[f"correction_{number}_rate_rmse_hz"] = float(np.sqrt(((found - rates.rate_hz) ** 2).mean()))
        figures[f"correction_{number}_bold_pcc"] = mean_pcc(done.seen[:, 0], observed)
        error = wanted - answer.current(found)
        mean = error.mean(axis=0)  # the largest part, and known far better than its course in time
        follow = settings.gain * min(1.0, neurons_per_region * settings.repeats / _LARGE)
        drive, share = _bounded(drive + mean + follow * (error - mean), settings)
    return Inverted(drive, rates.rate_sd_hz * answer.slope(rates.rate_hz), rates, done, spread, figures, share)


def _bounded(drive: Array, settings: InverseSettings) -> tuple[Array, float]:
    low, high = settings.bounds
    share = float(np.mean((drive < low) | (drive > high)))
    if share > 0:
        _log.info("inverse: %.1f %% of the currents were stopped at the bounds %s", 100 * share, settings.bounds)
    return np.clip(drive, low, high), share


def mean_pcc(a: Array, b: Array, discard: int = 10) -> float:
    """Return Pearson's r, mean over columns, where both are known and after the first rows.

    Examples
    --------
    >>> x = np.arange(30.0)[:, None]
    >>> mean_pcc(x, np.where(x == 20, np.nan, -x))
    -1.0
    """
    found = []
    for x, y in zip(a[discard:].T, b[discard:].T, strict=True):
        both = np.isfinite(x) & np.isfinite(y)
        if both.sum() > 2 and np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0:
            found.append(np.corrcoef(x[both], y[both])[0, 1])
    return round(float(np.mean(found)), 12) if found else math.nan


def wiring_keys(settings: InverseSettings, purpose: int) -> list[tuple[int, int]]:
    """Return keys of wiring and noise of the networks of one piece of the work: none is met twice.

    Examples
    --------
    >>> a, b = (wiring_keys(InverseSettings(), piece) for piece in (0, 1))
    >>> len(set(a + b))
    8
    """
    rng = random_stream(settings.seed, _OF_WIRING - purpose)
    return [(int(rng.integers(2**62)), int(rng.integers(2**62))) for _ in range(settings.repeats)]


def _free_runs(
    build: Build,
    units: Units,
    drive: Array,
    repetition_time_s: float,
    settings: InverseSettings,
    journal: Journal,
    number: int,
) -> tuple[Replayed, Array]:
    """Replay the drive in several fresh networks; return the mean, and the spread of BOLD, of those not lost."""
    runs = []
    for k, keys in enumerate(wiring_keys(settings, 1 + number)):
        piece = f"correction {number} network {k + 1}"
        engine = build(*keys) if journal.finished(piece) is None else None
        runs.append(replay(engine, units, drive[:, None], repetition_time_s, settings.warm_up, journal, piece, 0))
    fine = [run for run in runs if run.lost[0] < 0]
    too_few(len(fine), len(runs), max(1, math.ceil(2 * len(runs) / 3)), f"correction {number}")
    rate, bold, seen = (np.mean([getattr(run, name) for run in fine], axis=0) for name in ("rate", "bold", "seen"))
    every = np.concatenate([run.bold for run in fine], axis=1)
    spread = every.std(axis=1, ddof=1) if len(fine) > 1 else np.full(every[:, 0].shape, np.nan)
    return Replayed(rate, bold, seen, fine[0].lost), spread
