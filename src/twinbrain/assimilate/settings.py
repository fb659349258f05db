"""What the filter is told and what it needs: settings, the engine it steers, the checkpoint it writes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twinbrain.assimilate.transform import check_bounds
from twinbrain.errors import InputError

__all__ = ["Checkpoint", "Engine", "Progress", "Settings", "engine_seed", "initial_ensemble", "random_stream"]

Array = NDArray[np.float64]

Progress = Callable[[int, int], object]
"""Called with (cycles done, cycles in all); may raise :class:`twinbrain.errors.Interrupted`."""

_BEFORE_CYCLES = 2**64 - 1  # random stream of the initial ensemble, a cycle number no run reaches
_OF_ENGINE = 2**64 - 2


class Engine(Protocol):
    """What the filter needs of an ensemble of simulated networks (:class:`twinbrain.simulate.Simulation`)."""

    @property
    def steps_per_s(self) -> float: ...
    @property
    def voxel_of_input(self) -> Sequence[NDArray[np.int64]]: ...
    @property
    def balloon(self) -> Array:
        """(member, voxel, 4), writable in place; last axis s, f, v, q."""

    def set_drive(self, h: Array) -> object: ...
    def advance(self, steps: int) -> object: ...
    def bold(self) -> Array: ...
    def rate(self) -> Array: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def restore(self, state: dict[str, NDArray[Any]]) -> object: ...


class Checkpoint(Protocol):
    """Where the filter keeps what it needs to go on after an interruption: named arrays, nothing else."""

    def load(self) -> dict[str, NDArray[Any]] | None: ...
    def save(self, state: dict[str, NDArray[Any]]) -> object: ...


@dataclass(frozen=True)
class Settings:
    """The numbers of the filter; defaults as published where a publication states one.

    Attributes
    ----------
    members
        Number of networks in the ensemble, >= 3.
    bounds
        Open interval of the drive h, model units of current.
    random_walk_variance
        Q, variance of the random step of the transformed drive per repetition time; 1.21.
    observation_variance
        R, variance of the error of an observation, (fraction signal change) squared; 1e-8.
    local_gain
        rho, share of a region's own observation in its correction, 0 to 1; 0.5.
    lag
        How many earlier repetition times each observation corrects as well; 12. 0 = filter without smoother.
    warm_up
        Repetition times run at the initial drives before the first observation; 6.
    update_balloon
        Whether the Balloon states of the inputs are corrected together with the drives.
    min_members
        Healthy members below which the work stops, 2 at least; default two thirds of the members.
    seed
        Of everything random in the filter.

    Examples
    --------
    >>> Settings(members=45).lag
    12
    """

    members: int = 30
    bounds: tuple[float, float] = (0.0, 0.12)
    random_walk_variance: float = 1.21
    observation_variance: float = 1e-8
    local_gain: float = 0.5
    lag: int = 12
    warm_up: int = 6
    update_balloon: bool = True
    min_members: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings the algebra cannot work with."""
        check_bounds(self.bounds)
        rules = {
            "members": (self.members >= 3, "at least 3"),
            "random_walk_variance": (
                0 <= self.random_walk_variance < math.inf,
                "a number >= 0, published 1.21",
            ),
            "observation_variance": (
                0 < self.observation_variance < math.inf,
                "a number > 0 (an observation without error leaves no spread), published 1e-8",
            ),
            "local_gain": (0 <= self.local_gain <= 1, "0 to 1, published 0.5"),
            "lag": (self.lag >= 0, "a number of repetition times >= 0, usually 12"),
            "warm_up": (self.warm_up >= 0, "a number of repetition times >= 0, usually 6"),
            "min_members": (
                self.min_members is None or 2 <= self.min_members <= self.members,
                f"2 to {self.members} members, or nothing for two thirds",
            ),
            "seed": (0 <= self.seed < 2**64, "a number from 0 to 2**64 - 1"),
        }
        for name, (fine, expected) in rules.items():
            if not fine:
                raise InputError(f"{name}: found {getattr(self, name)!r}, expected {expected}; change the setting")


def initial_ensemble(inputs: int, settings: Settings) -> Array:
    """Spread the drives of the members over the middle third of the bounds, in another order for every input.

    The values are entries E to 2E - 1 of ``linspace(lower, upper, 3 E)``. Giving a member the same value at
    every input would correlate all inputs perfectly over the ensemble, and the mean gain would believe it.

    Parameters
    ----------
    inputs
        Number of input regions.
    settings
        Of the filter; used are members, bounds and seed.

    Returns
    -------
    numpy.ndarray
        (member, input) h, model units of current.

    Examples
    --------
    >>> h = initial_ensemble(2, Settings(members=4, bounds=(0.0, 0.11)))
    >>> np.sort(h, axis=0).round(3).T.tolist()
    [[0.04, 0.05, 0.06, 0.07], [0.04, 0.05, 0.06, 0.07]]
    """
    members = settings.members
    grid = np.linspace(*settings.bounds, 3 * members)[members : 2 * members]
    return random_stream(settings.seed, _BEFORE_CYCLES).permuted(np.repeat(grid[:, None], inputs, axis=1), axis=0)


def engine_seed(seed: int) -> int:
    """Return the seed of the members' noise, so that a free run with the filter's seed meets fresh noise.

    Parameters
    ----------
    seed
        Of the filter.

    Examples
    --------
    >>> engine_seed(0) == engine_seed(0), engine_seed(0) in (0, engine_seed(1))
    (True, False)
    """
    return int(random_stream(seed, _OF_ENGINE).integers(2**62))


def random_stream(seed: int, cycle: int) -> np.random.Generator:
    """Random numbers of one cycle: keyed by time, so that a resumed filter draws what the first would have.

    Parameters
    ----------
    seed
        Of the filter.
    cycle
        Number of the cycle.

    Examples
    --------
    >>> a, b, c = (random_stream(1, cycle).standard_normal() for cycle in (5, 5, 6))
    >>> a == b, a == c
    (True, False)
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, cycle], dtype=np.uint64)))
