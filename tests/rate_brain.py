"""A brain of rates in place of spikes, with the interface of the simulation: fast, its answer known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twinbrain.assimilate import methods as room
from twinbrain.assimilate.linear import region_projection
from twinbrain.brain import Brain
from twinbrain.observe import advance_balloon, bold_signal, resting_state

Array = NDArray[np.float64]

SLOPE, GAIN, REST = 0.008, 0.7, 4.0  # current per Hz, loop gain, Hz


def brain_of(regions: int, voxels: int = 1, seed: int = 0) -> Brain:
    """A random connectome of regions A00, A01, ..., with some voxels in each."""
    rng = np.random.default_rng(seed)
    shares = rng.gamma(0.4, 1.0, (regions, regions))
    np.fill_diagonal(shares, 0.0)
    shares /= shares.sum(axis=1, keepdims=True)
    names = tuple(f"A{k:02d}" for k in range(regions))
    index = np.repeat(np.arange(regions), voxels)
    return Brain(
        name="rates",
        level="region" if voxels == 1 else "voxel",
        regions=names,
        voxels=names if voxels == 1 else tuple(f"{names[i]}:{k % voxels:04d}" for k, i in enumerate(index)),
        region_index=index,
        grey_matter=1.0 + 0.5 * rng.random(len(index)),
        in_degree_factor=np.ones(len(index)),
        laminar=np.zeros(len(index), dtype=bool),
        projection=csr_array(shares[np.ix_(index, index)] / voxels),
    )


class RateBrain:
    """x' = (-x + k C x + h / a + noise) / 50 ms for the rates of regions around rest; 25 steps of 40 ms a second."""

    steps_per_s = 25.0
    broken: tuple[int, ...] = ()  # networks, by the order in which they are made, that become NaN
    made = 0

    def __init__(
        self,
        network: Any,
        *,
        members: int,
        inputs: tuple[str, ...],
        seed: int = 0,
        noise: float = 0.15,
        **_: Any,
    ) -> None:
        brain = network.brain
        self.brain, self.noise, self.clock = brain, noise, 0
        self.seed = seed % 2**62
        self.number = RateBrain.made
        RateBrain.made += 1
        index = np.asarray(brain.region_index)
        self.projection = region_projection(brain)[np.ix_(index, index)] / np.bincount(index)[index]
        names, voxels = list(brain.regions), list(brain.voxels)
        self.voxel_of_input = [
            np.flatnonzero(index == names.index(n)) if n in names else np.array([voxels.index(n)]) for n in inputs
        ]
        self.balloon = resting_state(members, len(index))
        self.x = np.zeros((members, len(index)))
        self.drive = np.zeros((members, len(index)))
        self.total, self.counted = np.zeros_like(self.x), 0

    def set_drive(self, h: Array) -> None:
        for i, voxels in enumerate(self.voxel_of_input):
            self.drive[:, voxels] = np.broadcast_to(h, (len(self.x), len(self.voxel_of_input)))[:, i, None]

    def advance(self, steps: int) -> None:
        dt = 1 / self.steps_per_s
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, self.clock], dtype=np.uint64)))
        noise = self.noise * rng.standard_normal((steps, *self.x.shape))
        hz = np.empty_like(noise)
        for t in range(steps):
            push = GAIN * self.x @ self.projection.T + self.drive / SLOPE
            self.x += dt / 0.05 * (push - self.x) * 0.9 + noise[t]
            hz[t] = np.maximum(REST + self.x, 0.0)
        for m in range(len(self.x)):
            advance_balloon(self.balloon[m], np.ascontiguousarray(hz[:, m]) / 1000, dt)
        self.total += hz.sum(axis=0)
        self.counted += steps
        self.clock += steps
        if self.number in self.broken:
            self.balloon[:] = np.nan

    def rate(self) -> Array:
        mean = self.total / max(self.counted, 1)
        self.total, self.counted = np.zeros_like(self.x), 0
        return mean

    def bold(self) -> Array:
        return bold_signal(self.balloon)

    def state(self) -> dict[str, NDArray[Any]]:
        own = {"x": self.x, "drive": self.drive, "total": self.total, "balloon": self.balloon}
        return {k: v.copy() for k, v in own.items()} | {"clock": np.array([self.clock, self.counted])}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        for name in ("x", "drive", "total", "balloon"):
            getattr(self, name)[...] = state[name]
        self.clock, self.counted = (int(v) for v in state["clock"])

    def copy_member(self, source: int, target: int) -> None:
        for array in (self.x, self.drive, self.total):
            array[target] = array[source]


def use_rates(monkeypatch: Any) -> None:
    """Let ``assimilate`` build rate brains."""
    monkeypatch.setattr(room, "make_engine", lambda network, **options: RateBrain(network, **options))
    monkeypatch.setattr(RateBrain, "broken", ())
    monkeypatch.setattr(RateBrain, "made", 0)


def autoregressive(rows: int, series: int, seed: int, correlation: float = 0.9) -> Array:
    """Return series of unit variance."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, series))
    for t in range(1, rows):
        x[t] = correlation * x[t - 1] + np.sqrt(1 - correlation**2) * x[t]
    return np.asarray(x)
