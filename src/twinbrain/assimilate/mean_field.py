r"""Mean field of a network's circuits: the gain of the loop through the connectome, and the danger of synchrony.

To first order all voxels of one circuit behave alike. With the slope phi' of a neuron's f-I curve (spikes per ms and
unit of current), the mean charge that one spike per ms of a source brings (W for sources in the same voxel, x for
those in other voxels) and the share omega of each population among the axons that leave a voxel, slow changes are
carried around the loop voxel -> connectome -> voxel with the gain

    k = omega' (diag(1 / phi') - W)^-1 x        (0 = no loop, 1 = critical),

and changes of angular frequency w with the matrix

    M(w) = phi' e^{-i w d} / (1 + i w 5 ms)  sum_u (W_u + x_u omega') / (1 + i w tau_u),

u = receptor channels, d = 1 ms of exchange. Where an eigenvalue of M is real and 1, the network oscillates. As a rule
of thumb from 70 simulated states, below 0.6 it is asynchronous. These are first guesses: phi' changes with rate and
synaptic noise, so that :func:`twinbrain.calibrate` measures k.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from twinbrain.network import Network
from twinbrain.neuron import CHANNELS, NeuronParameters

__all__ = ["CircuitField", "SynchronyRisk", "isolated_response", "mean_field"]

Float = NDArray[np.float64]

FAST_LIMIT = 0.6  # largest real loop gain of an oscillation in states that were asynchronous
_MEMBRANE_MS = 5.0  # low-pass of the rate response to a current
_EXCHANGE_MS = 1.0
_DEPTH = 0.35  # mean membrane potential, as a share of the way from threshold down to leak
_NEURONS, _STEPS, _SETTLE = 1000, 3000, 300


@dataclass(frozen=True)
class SynchronyRisk:
    """How near a circuit is to a fast oscillation of the whole brain.

    Attributes
    ----------
    gain : float
        Largest real loop gain of any oscillation; 1 = unstable, below 0.6 = asynchronous in practice.
    frequency_hz : float
        Where it has that gain.

    Examples
    --------
    >>> SynchronyRisk(0.31, 62.0).asynchronous
    True
    """

    gain: float
    frequency_hz: float

    @property
    def asynchronous(self) -> bool:
        """Whether the gain is below 0.6."""
        return self.gain < FAST_LIMIT


@dataclass(frozen=True, eq=False)
class CircuitField:
    """Mean field of one circuit with L populations.

    Attributes
    ----------
    name : str
        ``"laminar"`` or ``"canonical"``.
    local : ndarray (4, L, L)
        Per channel, current (model units) into each population for one spike per ms of each population of the voxel.
    long_range : ndarray (4, L)
        The same for one spike per ms of the neurons that project to the voxel from elsewhere, with chi.
    projecting : ndarray (L,)
        omega, share of each population among these neurons.
    tau_ms : ndarray (4, L)
        Time constants of the channels.
    slope : ndarray (L,)
        phi', spikes per ms and unit of current.
    threshold_current : ndarray (L,)
        Mean current at which an isolated neuron fires at the rate asked for.

    Examples
    --------
    >>> from twinbrain import Brain, Subject
    >>> brain = Brain.from_subject(Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"]))
    >>> (field,) = mean_field(Network(brain, neurons=400))
    >>> 0.7 < field.loop_gain < 0.9, field.synchrony().asynchronous
    (True, True)
    """

    name: str
    local: Float
    long_range: Float
    projecting: Float
    tau_ms: Float
    slope: Float
    threshold_current: Float

    @property
    def loop_gain(self) -> float:
        """k of the mean field; not finite or negative where the voxel by itself has no stable low state."""
        return float(self.projecting @ self._answer())

    def _answer(self) -> Float:
        loop = np.diag(1.0 / self.slope) - self.local.sum(axis=0)
        return np.asarray(np.linalg.solve(loop, self.long_range.sum(axis=0)), np.float64)

    @property
    def background_slope(self) -> float:
        """Change of the background mean of every neuron that moves the whole network's rate by 1 Hz."""
        loop = (
            np.diag(1.0 / self.slope) - self.local.sum(axis=0) - np.outer(self.long_range.sum(axis=0), self.projecting)
        )
        rise = float(np.linalg.solve(loop, np.ones(len(self.slope))) @ self.projecting)
        return 1e-3 / rise if rise > 0 else 1e-3

    @property
    def own_loop(self) -> float:
        """Largest real part among the eigenvalues of the voxel's own slow loop; from 1 on it runs away by itself."""
        return float(np.linalg.eigvals(self.slope[:, None] * self.local.sum(axis=0)).real.max())

    def synaptic_current(self, rate_hz: float) -> Float:
        """Return the mean synaptic current into each population when all neurons fire at one rate."""
        total = self.local.sum(axis=(0, 2)) + self.long_range.sum(axis=0)
        return np.asarray(total * rate_hz / 1000.0, np.float64)

    def synchrony(self) -> SynchronyRisk:
        """Return the largest real gain at which a change comes back in phase with itself, 1 to 400 Hz."""
        best, at = 0.0, 0.0
        before: NDArray[np.complex128] | None = None
        for hz in np.geomspace(1.0, 400.0, 500):
            w = 2e-3 * np.pi * hz
            unit = self.slope * np.exp(-1j * w * _EXCHANGE_MS) / (1 + 1j * w * _MEMBRANE_MS)
            reach = self.local + self.long_range[:, :, None] * self.projecting
            now = np.linalg.eigvals(unit[:, None] * (reach / (1 + 1j * w * self.tau_ms)[:, :, None]).sum(axis=0))
            if before is not None:
                for z in now:
                    near = before[np.argmin(np.abs(before - z))]
                    crosses = near.imag * z.imag < 0 and abs(near - z) < 0.5 * max(abs(z), 0.05)
                    if crosses and z.real > best:
                        best, at = float(z.real), float(hz)
            before = np.asarray(now, np.complex128)
        return SynchronyRisk(best, at)


def mean_field(network: Network, rate_hz: float = 4.0) -> tuple[CircuitField, ...]:
    """Return the mean field of every circuit the network holds (laminar before canonical).

    Parameters
    ----------
    network
    rate_hz
        Rate at which the slope of the f-I curve is taken, default 4 Hz.

    Returns
    -------
    tuple of CircuitField
        One entry, or two where laminar cortex and canonical voxels go together.

    Notes
    -----
    Mean weight 1/2; the driving force of a channel is taken at 35 % of the way from threshold down to leak (-57 mV
    with the default neuron: 57 mV for excitation, 13 mV for GABA_A). Synaptic density (in-degree factors) is left out.
    """
    kinds = [k for k in (0, 1) if (network.anatomy.kind == k).any()]
    fields = []
    for kind in kinds:
        circuit = network.circuits[kind]
        count = len(circuit.populations)
        degree = circuit.in_degree(network.in_degree).astype(np.float64)
        by = {
            "none": np.full(count, 100.0),
            "in_degree": np.full(count, float(network.in_degree)),
            "population": degree,
        }
        synapses = degree * 100.0 / by[network.set.conductance_scaling]
        chi = np.where(circuit.sign < 0, network.set.long_range_gain_inhibitory, 1.0)
        chi = chi * network.set.long_range_gain[kind if network.circuit == "laminar" else 1]
        local, far = np.zeros((4, count, count)), np.zeros((4, count))
        tau, slope, threshold = np.ones((4, count)), np.zeros(count), np.zeros(count)
        for p, name in enumerate(circuit.populations):
            neuron = network.set.of(name)
            potential = neuron.threshold_mv - _DEPTH * (neuron.threshold_mv - neuron.leak_potential_mv)
            for u, channel in enumerate(CHANNELS):
                tau[u, p] = getattr(neuron, f"tau_{channel}_ms")
                force = getattr(neuron, f"v_{channel}_mv") - potential
                charge = 0.5 * synapses[p] * getattr(neuron, f"g_{channel}") * tau[u, p] * force
                sources = circuit.sign > 0 if u < 2 else circuit.sign < 0
                local[u, p, sources] = charge * circuit.sources[p, :count][sources]
                if u < 2:
                    far[u, p] = charge * circuit.sources[p, count] * chi[p]
            threshold[p], slope[p] = isolated_response(neuron, rate_hz)
        fields.append(CircuitField(circuit.name, local, far, circuit.projecting, tau, slope, threshold))
    return tuple(fields)


def isolated_response(neuron: NeuronParameters, rate_hz: float) -> tuple[float, float]:
    """Return the mean current at which an isolated neuron fires at a rate, and the slope of its f-I curve there.

    1,000 neurons with the background's noise and no synapses are stepped through 3 s at 15 mean currents around the
    rheobase, all with the same noise.

    Parameters
    ----------
    neuron
        Conductances and the mean of the background do not matter.
    rate_hz
        Hz.

    Returns
    -------
    current : float
        Model units.
    slope : float
        Spikes per ms and model unit.

    Examples
    --------
    >>> current, slope = isolated_response(NeuronParameters(), 4.0)
    >>> 0.39 < current < 0.41, 0.09 < slope < 0.15
    (True, True)
    """
    plain = {f"g_{c}": 0.0 for c in CHANNELS}
    levels, rates = _f_i(replace(neuron, background_mean=0.0, **plain))
    curve = PchipInterpolator(levels, np.log(rates))
    fine = np.linspace(levels[0], levels[-1], 2000)
    current = float(np.interp(np.log(rate_hz), curve(fine), fine))
    slope = float(np.exp(curve(current)) * curve(current, 1)) / 1000.0
    return current, max(slope, 1e-4)


@lru_cache(maxsize=64)
def _f_i(neuron: NeuronParameters) -> tuple[Float, Float]:
    """f-I curve of an isolated neuron: currents and rates in Hz, both growing."""
    rheobase = neuron.leak_conductance * (neuron.threshold_mv - neuron.leak_potential_mv)
    width = max(neuron.background_std, 0.02 * rheobase)
    levels = rheobase + width * np.linspace(-2.2, 2.0, 15)
    random = np.random.Generator(np.random.Philox(1))
    decay = np.exp(-1.0 / neuron.background_tau_ms)
    kick = neuron.background_std * np.sqrt(1 - decay**2)
    noise = neuron.background_std * random.standard_normal(_NEURONS)
    v = np.full((len(levels), _NEURONS), neuron.reset_mv)
    held = np.zeros(v.shape, np.int64)
    hold = int(np.ceil(neuron.refractory_ms - 1e-6)) - 1
    counts = np.zeros(len(levels))
    gain = 1.0 / neuron.capacitance
    for step in range(_SETTLE + _STEPS):
        noise = noise * decay + kick * random.standard_normal(_NEURONS)
        moved = v + gain * (neuron.leak_conductance * (neuron.leak_potential_mv - v) + noise + levels[:, None])
        free = held == 0
        spike = free & (moved >= neuron.threshold_mv)
        v = np.where(free & ~spike, moved, neuron.reset_mv)
        held = np.where(spike, hold, np.maximum(held - 1, 0))
        if step >= _SETTLE:
            counts += spike.sum(axis=1)
    rates = (counts + 0.5) / _NEURONS / (_STEPS / 1000.0)
    return levels, np.maximum.accumulate(rates * (1 + 1e-6 * np.arange(len(levels))))
