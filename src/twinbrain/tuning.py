"""Parameters as the kernels take them: scalars, one number per population, or one number per neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from twinbrain.errors import InputError, nearest
from twinbrain.kernels.delay import delay_steps
from twinbrain.kernels.half import BELOW_THRESHOLD_MV, MOST_HELD, Packing
from twinbrain.kernels.random import derive_key, uniforms_numpy
from twinbrain.kernels.update import PARAMETERS, Layout
from twinbrain.network import Network
from twinbrain.neuron import CHANNELS

__all__ = [
    "Delays",
    "KernelParameters",
    "aligned",
    "check_tunable",
    "delays",
    "gamma_factors",
    "kernel_parameters",
    "packing",
]

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KernelParameters:
    """The parameters of a network at a time step.

    Attributes
    ----------
    layout : Layout
        Which parameter is a scalar, differs between populations or between neurons.
    values : dict of ndarray (P,)
        All of them, for every population, in double precision.
    """

    layout: Layout
    values: dict[str, Float]

    @property
    def scalars(self) -> NDArray[np.float32]:
        """The value of the first population of every parameter, which is that of all where it is used."""
        return np.array([self.values[name][0] for name in PARAMETERS], np.float32)

    @property
    def table(self) -> NDArray[np.float32]:
        """What differs between populations, (P, number of such parameters)."""
        columns = [self.values[name].astype(np.float32) for name in self.layout.by_population]
        return np.ascontiguousarray(np.stack(columns, axis=1))

    def of_neurons(self, name: str, network: Network, population_of: NDArray[np.int32]) -> Float:
        """Return a parameter of every neuron, with its Gamma factor."""
        ids = np.arange(len(population_of), dtype=np.int64) + CHANNELS.index(name[2:]) * 2**40
        factor = gamma_factors(network.heterogeneity["g_" + name[2:]], ids, network.seed, "gamma_conductance")
        return np.asarray(self.values[name][population_of] * factor, np.float64)


def kernel_parameters(
    network: Network, dt_ms: float, tunable: Sequence[str] = (), driven: bool = False
) -> KernelParameters:
    """Make the parameters of the kernels in double precision.

    Conductances that are ``tunable`` and the background current count as different between populations even if they
    are not (yet). ``driven`` asks for a current of every neuron's own.
    """
    get = network.parameter
    tau = get("background_tau_ms")
    decay = np.exp(-dt_ms / tau)
    held = np.ceil(get("refractory_ms") / dt_ms - 1e-6) - 1
    values = {
        "dt_over_c": dt_ms / get("capacitance"),
        "g_leak": get("leak_conductance"),
        "current": get("leak_conductance") * get("leak_potential_mv") + get("background_mean"),
        "v_threshold": get("threshold_mv"),
        "v_reset": get("reset_mv"),
        # the step of the spike counts as the first of the refractory time (see neuron.reference_step)
        "held": np.where(held > 0, -1000.0 * held, get("reset_mv")),
        "e_ou": decay,
        "s_ou": get("background_std") * np.sqrt(1 - decay**2),
        **{f"v_{c}": get(f"v_{c}_mv") for c in CHANNELS},
        **{f"d_{c}": np.exp(-dt_ms / get(f"tau_{c}_ms")) for c in CHANNELS},
        **{f"w_{c}": get(f"g_{c}") / 255.0 for c in CHANNELS},
        "chi": network.chi,
    }
    live = network.live
    dead = {f"{k}_{c}" for c, alive in zip(CHANNELS, live, strict=True) if not alive for k in "vdw"}
    used = [name for name in PARAMETERS if name not in dead]
    own = tuple(name for name in used if name.replace("w_", "g_") in network.heterogeneity)
    between = ("current", *(name.replace("g_", "w_") for name in tunable))
    layout = Layout(
        live=live,
        varying=own,
        gained=bool((network.chi != 1).any()),
        wide=int(network.anatomy.in_degree.max() * 255 * network.largest_gain) >= 2**16,
        by_population=tuple(
            name
            for name in used
            if name not in own and (name in between or np.ptp(values[name].astype(np.float32)) > 0)
        ),
        driven=driven,
        half=network.state_dtype == "float16",
        exponential=network.integrator == "exponential",
    )
    return KernelParameters(layout, {name: np.asarray(values[name], np.float64) for name in PARAMETERS})


def packing(network: Network, parameters: KernelParameters) -> Packing:
    """Return how the state is held: as it is, or in 16 bits with a reference potential and a scale for every row.

    Raises
    ------
    InputError
        If a potential or the refractory time does not fit into 16 bits.
    """
    layout, get = parameters.layout, network.parameter
    if not layout.half:
        return Packing(np.zeros(0, np.float32))
    reference = float(np.floor(get("threshold_mv").max())) - BELOW_THRESHOLD_MV
    reached = {"reset_mv": get("reset_mv"), "leak_potential_mv": get("leak_potential_mv")}
    reached |= {f"v_{c}_mv": get(f"v_{c}_mv") for c, live in zip(CHANNELS, layout.live, strict=True) if live}
    for name, values in reached.items():
        if values.min() < reference - 60:
            raise InputError(
                f"state_dtype 'float16' holds potentials down to {reference - 60:g} mV, 117 mV below the highest "
                f"threshold, and {name} is {values.min():g} mV; use 'float32'"
            )
    longest = float(-parameters.values["held"].min() / 1000)
    if longest > MOST_HELD:
        raise InputError(
            f"state_dtype 'float16' counts refractory times of up to {MOST_HELD} steps, and refractory_ms makes "
            f"{longest:.0f}; use a longer step or 'float32'"
        )
    noise = get("background_std").max()
    sizes = [reference, noise]
    sizes += [get(f"g_{c}").max() for c, live in zip(CHANNELS, layout.live, strict=True) if live]
    sizes += [noise] * layout.driven
    sizes += [parameters.values[name].max() for name in layout.varying]
    scale = [2.0 ** round(np.log2(x)) if x > 0 else 1.0 for x in sizes]
    return Packing(np.array([reference, *scale[1:]], np.float32))


def gamma_factors(shape: float, ids: Int, seed: int, purpose: str) -> Float:
    """Return Gamma(shape, 1/shape) deviates (mean 1) keyed by neuron id."""
    if np.isinf(shape):
        return np.ones(len(ids))
    u = uniforms_numpy(ids, 0, derive_key(seed, purpose))
    return np.asarray(gammaincinv(shape, u) / shape, np.float64)


def check_tunable(names: Sequence[str], network: Network) -> tuple[str, ...]:
    """Refuse conductances that do not exist, or that are 0 everywhere, which no factor could change."""
    known = [f"g_{c}" for c, alive in zip(CHANNELS, network.live, strict=True) if alive]
    for name in names:
        if name not in known:
            raise InputError(
                f"tunable: '{name}' is not a conductance of this network{nearest(name, known)}; those above 0 are "
                f"{', '.join(known) or 'none'}"
            )
    return tuple(dict.fromkeys(names))


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return zeros that begin at a multiple of 64 bytes, so that no vector is spread over two cache lines."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return out


_DENSE_VOXELS = 4096  # up to this many voxels delays are kept as a matrix


@dataclass(frozen=True, eq=False)
class Delays:
    """How many exchange steps spikes travel between voxels.

    Attributes
    ----------
    matrix : ndarray uint16 (V, V)
        Steps, row = target; empty for many voxels, whose steps are computed from ``positions``.
    positions : ndarray (V, 3)
        mm.
    mm_per_step : float
    most : int
        The largest of all.
    """

    matrix: NDArray[np.uint16]
    positions: Float
    mm_per_step: float
    most: int


def delays(network: Network, exchange_ms: float) -> Delays | None:
    """Return the delays between voxels, or None if every spike arrives after one step.

    Raises
    ------
    InputError
        If a tract has no length and its ends no position, or a delay is longer than 1,000 steps.
    """
    speed, brain = network.conduction_speed_m_s, network.brain
    if speed is None:
        return None
    n = len(brain.voxels)
    edges = brain.projection.tocoo()
    rows, columns = (x.astype(np.int64) for x in edges.coords)
    positions = np.zeros((n, 3)) if brain.positions is None else np.asarray(brain.positions, np.float64)
    per_step = speed * exchange_ms
    steps = delay_steps(rows, columns, positions, per_step)
    if brain.lengths is not None:
        length = brain.lengths[rows, columns]
        known = length > 0
        if brain.positions is None and not known.all():
            k = int(np.flatnonzero(~known)[0])
            raise InputError(
                f"the tract from '{brain.voxels[columns[k]]}' to '{brain.voxels[rows[k]]}' has a weight but no length, "
                "and there are no positions to compute one: give the Subject positions= or all lengths"
            )
        steps = np.where(known, np.maximum(np.floor(length / per_step + 0.5), 1), steps).astype(np.int64)
    most = int(steps.max(initial=1))
    if most > 1000:
        raise InputError(
            f"conduction_speed_m_s ({speed} m/s): a spike would travel for {most} exchange steps, expected at most "
            "1000; raise the speed or the exchange interval"
        )
    matrix = np.zeros((0, 0), np.uint16)
    if brain.lengths is not None or n <= _DENSE_VOXELS:
        matrix = np.ones((n, n), np.uint16)
        matrix[rows, columns] = steps
    return Delays(matrix, positions, per_step, most)
