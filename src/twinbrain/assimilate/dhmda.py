"""The published filter, Vw-dHMDA, with a fixed-lag smoother: the drives of an ensemble follow recorded BOLD.

Each member is a whole network. Once per repetition time the drives take a random step, all members run, and
drives and Balloon states are corrected by the difference between recorded and predicted BOLD. BOLD answers a
drive seconds later, so the drives of the last ``lag`` repetition times are corrected too: the filter's own
estimate of h(t) has seen BOLD up to t only and is late; the smoothed one has seen the response.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinbrain.assimilate.ensemble import mixed_gain_update
from twinbrain.assimilate.replay import least_members, lost_members, too_few
from twinbrain.assimilate.settings import (
    Checkpoint,
    Engine,
    Progress,
    Settings,
    initial_ensemble,
    random_stream,
)
from twinbrain.assimilate.transform import SATURATION, to_bounded, to_unbounded
from twinbrain.assimilate.units import Units
from twinbrain.errors import InputError, Interrupted
from twinbrain.observe import sample_steps
from twinbrain.store import Due

__all__ = ["Filtered", "run_filter"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]
_BALLOON_FLOOR = 1e-5


@dataclass(frozen=True, eq=False)
class Filtered:
    """What a pass of the filter leaves behind.

    Attributes
    ----------
    x
        (time, member, input): transformed drives, corrected by the observations up to ``lag`` rows later.
    filter_mean
        (time, input): ensemble mean of h before the row's own observation was used, as published.
    forecast, forecast_spread
        (time, region): ensemble mean and standard deviation of the predicted BOLD, fraction signal change.
    initial
        (member, input): the drives h of the warm-up.
    at_bounds
        Share of corrected drives that had to be stopped at the saturation.
    replaced
        (event, 3): cycle, member that diverged, member it was replaced by.
    """

    x: Array
    filter_mean: Array
    forecast: Array
    forecast_spread: Array
    initial: Array
    at_bounds: float
    replaced: NDArray[np.int64]


def run_filter(
    engine: Engine,
    observed: Array,
    units: Units,
    repetition_time_s: float,
    settings: Settings,
    *,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 300.0,
    context: str = "",
) -> Filtered:
    r"""Assimilate observed BOLD into an ensemble, one cycle per repetition time.

    Cycle t: (1) :math:`x \leftarrow x + \sqrt Q \xi` per member and input; (2) drive
    :math:`h = lo + (up - lo)/(1 + e^{-x/10})`; (3) all members run to step
    of their clock nearest to ``(t + 1) * repetition_time_s`` after the warm-up; (4) the augmented state
    of every input, ``[x(t), ..., x(t - lag), s, f, v, q]``, is corrected by
    :func:`~twinbrain.assimilate.ensemble.mixed_gain_update`; (5) x is kept within the saturation, and f, v, q
    at 1e-5 or above.

    An input of several voxels is one unit: its BOLD and Balloon state are the grey-matter weighted means over
    its voxels, and the correction is added to each of them.

    Parameters
    ----------
    engine
        The ensemble; its clock is where the warm-up starts.
    observed
        (time, input) target BOLD, NaN = missing (the input only predicts in this cycle).
    units
        The inputs: which voxels each one drives, and what observes it.
    repetition_time_s
        Seconds between rows of ``observed``.
    settings
        Of the filter.
    progress
        Called as ``progress(cycles done, cycles in all)``; may raise :class:`~twinbrain.errors.Interrupted`.
    checkpoint, checkpoint_every_s
        Where, and after how many seconds, the state is saved. A resumed pass equals an uninterrupted one bit
        for bit.
    context
        Says what the engine simulates; a checkpoint is only continued with the same context.

    Returns
    -------
    Filtered
        Drives, forecasts and what happened on the way.

    Raises
    ------
    InputError
        If fewer than ``settings.min_members`` members are left, or the checkpoint belongs to other work.

    References
    ----------
    Zhang, Chen, Feng, Lu: On a framework of data assimilation for hyperparameter estimation of spiking
    neuronal networks, Neural Networks 2024 (arXiv:2206.02986).

    Examples
    --------
    >>> from scipy.sparse import csr_array

    An engine whose BOLD is the drive itself, without delay: the drive finds the observed value.

    >>> class Echo:
    ...     steps_per_s, voxel_of_input, balloon = 10, [np.array([0])], np.ones((20, 1, 4))
    ...     def set_drive(self, h): self.h = h
    ...     def advance(self, steps): pass
    ...     def bold(self): return self.h
    ...     def rate(self): return np.ones((20, 1))
    >>> one = csr_array([[1.0]])
    >>> units = Units(("a",), np.array([0]), one, one, ("a",), one)
    >>> settings = Settings(members=20, lag=0)
    >>> done = run_filter(Echo(), np.full((30, 1), 0.05), units, 0.8, settings)
    >>> to_bounded(done.x[-1], settings.bounds).mean().round(3).item()
    0.05
    """
    work = _Pass(engine, observed, units, repetition_time_s, settings, context)
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is not None:
        work.restore(saved)
        _log.info("resumed at cycle %d of %d", work.cycle, len(observed))
    else:
        work.warm_up()
    total, due = len(observed), Due(checkpoint_every_s)
    while work.cycle < total:
        work.step()
        if checkpoint is not None and (due() or work.cycle == total):
            checkpoint.save(work.state())
        if progress is not None:
            try:
                progress(work.cycle, total)
            except (Interrupted, KeyboardInterrupt):
                if checkpoint is not None:
                    checkpoint.save(work.state())
                raise
    return work.result()


class _Pass:
    """One pass of the filter over the data: everything that changes from cycle to cycle."""

    def __init__(
        self,
        engine: Engine,
        observed: Array,
        units: Units,
        repetition_time_s: float,
        settings: Settings,
        context: str,
    ) -> None:
        self.engine, self.settings, self.context = engine, settings, context
        self.observed = np.asarray(observed, dtype=np.float64)
        self.units = units
        step_ms = 1000.0 / engine.steps_per_s
        self.ends, offset = sample_steps(len(self.observed), repetition_time_s, step_ms)
        self.warm_up_steps = round(settings.warm_up * repetition_time_s * engine.steps_per_s)
        if offset > 0:
            _log.info(
                "BOLD is sampled at the exchange step nearest to each multiple of %g s, at most %.2g ms off",
                repetition_time_s,
                offset * 1e3,
            )
        cycles, inputs = self.observed.shape
        regions = units.observation.shape[0]
        self.initial = initial_ensemble(inputs, settings)
        self.cycle = 0
        self.x = np.zeros((cycles, settings.members, inputs))
        self.filter_mean = np.zeros((cycles, inputs))
        self.forecast = np.zeros((cycles, regions))
        self.forecast_spread = np.zeros((cycles, regions))
        self.stopped = 0
        self.replaced: list[tuple[int, int, int]] = []

    def warm_up(self) -> None:
        self.engine.set_drive(self.initial)
        self.engine.advance(self.warm_up_steps)

    def step(self) -> None:
        t, s = self.cycle, self.settings
        rng = random_stream(s.seed, t)
        before = self.x[t - 1] if t else to_unbounded(self.initial, s.bounds)
        walk = rng.standard_normal(before.shape)
        noise = rng.standard_normal(before.shape)
        self.x[t] = np.clip(before + math.sqrt(s.random_walk_variance) * walk, -SATURATION, SATURATION)
        h = to_bounded(self.x[t], s.bounds)
        self.filter_mean[t] = h.mean(axis=0)
        self.engine.set_drive(h)
        self.engine.advance(int(self.ends[t] - (self.ends[t - 1] if t else 0)))
        bold = self._healthy_bold(rng)
        by_region = np.asarray((self.units.observation @ bold.T).T)
        self.forecast[t] = by_region.mean(axis=0)
        self.forecast_spread[t] = by_region.std(axis=0, ddof=1)
        self._analyse(np.asarray((self.units.seen @ bold.T).T), noise)
        self.cycle += 1

    def _analyse(self, predicted: Array, noise: Array) -> None:
        t, s = self.cycle, self.settings
        first = max(0, t - s.lag)
        drives = np.moveaxis(self.x[first : t + 1], 0, 2)  # (member, input, lag), the present one last
        balloon = self._unit_balloon()
        updated = mixed_gain_update(
            np.concatenate([drives, balloon], axis=2),
            predicted,
            self.observed[t],
            s.observation_variance,
            noise,
            s.local_gain,
        )
        corrected = updated[:, :, : drives.shape[2]]
        self.stopped += int((np.abs(corrected[:, :, -1]) >= SATURATION).sum())
        self.x[first : t + 1] = np.moveaxis(np.clip(corrected, -SATURATION, SATURATION), 2, 0)
        if s.update_balloon:
            self._correct_balloon(updated[:, :, drives.shape[2] :] - balloon)

    def _unit_balloon(self) -> Array:
        state = self.engine.balloon
        count = len(self.units.names)
        means = [np.einsum("v,evk->ek", self.units.weights(i), state[:, self.units.voxels(i)]) for i in range(count)]
        return np.stack(means, axis=1)

    def _correct_balloon(self, change: Array) -> None:
        state = self.engine.balloon
        for i in np.flatnonzero(np.isfinite(self.observed[self.cycle])).tolist():
            voxels = self.engine.voxel_of_input[i]
            corrected = state[:, voxels] + change[:, i, None, :]
            corrected[:, :, 1:] = np.maximum(corrected[:, :, 1:], _BALLOON_FLOOR)
            state[:, voxels] = corrected

    def _healthy_bold(self, rng: np.random.Generator) -> Array:
        """BOLD of all members, those that were lost replaced by copies of healthy ones."""
        bold = np.array(self.engine.bold(), dtype=np.float64)
        lost = dict(lost_members(self.engine, bold, np.asarray(self.engine.rate())))
        if not lost:
            return bold
        healthy = np.setdiff1d(np.arange(len(bold)), list(lost))
        least = least_members(len(bold), self.settings.min_members)
        too_few(len(healthy), len(bold), least, f"cycle {self.cycle}")
        first = max(0, self.cycle - self.settings.lag)
        copy_member = getattr(self.engine, "copy_member", None)
        for member, why in lost.items():
            donor = int(rng.choice(healthy))
            if copy_member is not None:
                copy_member(donor, int(member))
            self.engine.balloon[member] = self.engine.balloon[donor]
            self.x[first : self.cycle + 1, member] = self.x[first : self.cycle + 1, donor]
            bold[member] = bold[donor]
            self.replaced.append((self.cycle, int(member), donor))
            _log.warning("cycle %d: member %d %s and goes on as a copy of %d", self.cycle, member, why, donor)
        return bold

    def _identity(self) -> NDArray[np.uint8]:
        """Hash of everything that determines the result on our side of the engine."""
        said = {k: v for k, v in asdict(self.settings).items() if k != "min_members"}  # may be lowered to go on
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        digest.update(repr((self.context, self.observed.shape, self.ends.tolist(), self.units.observed_as)).encode())
        digest.update(self.observed.tobytes())
        return np.frombuffer(digest.digest(), dtype=np.uint8)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything needed to go on, as named arrays; the engine's own begin with ``engine.``."""
        own: dict[str, NDArray[Any]] = {
            "identity": self._identity(),
            "cycle": np.array(self.cycle, dtype=np.int64),
            "x": self.x.copy(),
            "filter_mean": self.filter_mean.copy(),
            "forecast": self.forecast.copy(),
            "forecast_spread": self.forecast_spread.copy(),
            "stopped": np.array(self.stopped, dtype=np.int64),
            "replaced": self._replaced(),
        }
        return own | {f"engine.{name}": np.array(value) for name, value in self.engine.state().items()}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        if "identity" not in saved or not np.array_equal(saved["identity"], self._identity()):
            raise InputError(
                "checkpoint: found one of an assimilation with other data, inputs or settings, expected one "
                "of this; repeat the settings it was started with, or remove the checkpoint to start anew"
            )
        self.cycle, self.stopped = int(saved["cycle"]), int(saved["stopped"])
        for name in ("x", "filter_mean", "forecast", "forecast_spread"):
            setattr(self, name, np.array(saved[name], dtype=np.float64))
        self.replaced = [(int(c), int(m), int(d)) for c, m, d in saved["replaced"]]
        prefix = "engine."
        self.engine.restore({k.removeprefix(prefix): np.array(v) for k, v in saved.items() if k.startswith(prefix)})

    def _replaced(self) -> NDArray[np.int64]:
        return np.array(self.replaced, dtype=np.int64).reshape(-1, 3)

    def result(self) -> Filtered:
        return Filtered(
            x=self.x,
            filter_mean=self.filter_mean,
            forecast=self.forecast,
            forecast_spread=self.forecast_spread,
            initial=self.initial,
            at_bounds=self.stopped / self.x.size,
            replaced=self._replaced(),
        )
