"""``calibrate(network)``: find the parameters at which a network carries slow changes onward and stays asynchronous.

A network that is to carry a few regions' currents through the connectome needs a loop gain k near 0.8, must fire
asynchronously, and must come back from strong input. The search has two screws: the gain of the long-range loop (the
excitatory conductance where most synapses are long-range; chi, per circuit, where anatomy gives most to the voxel
itself) and the background mean. Everything is measured on a small network of the same wiring rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from twinbrain.assimilate.adjust import nmda_share_of, with_nmda_share
from twinbrain.assimilate.linear import region_projection
from twinbrain.assimilate.mean_field import mean_field
from twinbrain.assimilate.search import Centre, Search, bare
from twinbrain.assimilate.trial import Trials
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.brain import Brain
from twinbrain.errors import InputError, nearest
from twinbrain.network import Network

__all__ = ["LOOP_GAINS", "calibrate", "recentre", "region_counterpart"]

LOOP_GAINS = {"canonical": 0.8, "laminar": 0.65}
"""Loop gain that is asked for by default, by circuit."""
_LARGEST = 250_000  # neurons up to which the network's own size is simulated to remove its offset


def calibrate(
    network: Network,
    inputs: Sequence[str] = (),
    *,
    rate_hz: float = 4.0,
    loop_gain: float | None = None,
    nmda_share: float | None = None,
    neurons_per_region: int = 100,
    margin: bool = True,
    seed: int = 0,
    threads: int = 1,
    dt_ms: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> WorkingPoint:
    """Find the working point of a network: its rate, its loop gain, and that it is neither synchronous nor bistable.

    1. Mean field: a first guess of the gain, and the gain of fast oscillations (refused from 1 on).
    2. Background mean by bisection (regula falsi) to the target rate.
    3. Step test: +0.03 on a few regions, on and off every 2 s; k by least squares of the other regions' answer to
       ``(1 - k C_nn)^-1 k C_n,in x_in``; slope a from ``h = a (1 - k C) x``.
    4. Secant on the gain to the k asked for, and 2 again.
    5. Rest from ten starts (synchrony: Fano factor in 4-ms bins below 10; none may start in the high state) and a
       pulse of 2.5 s, +0.06 on the inputs and +0.01 on everything: back within 15 % after 1.5 s. A network that jumps
       gets 3 % less gain, as long as k stays within 0.06 of what was asked for.
    6. f-I table: eight currents held in all inputs together.
    7. The gain is raised until the network breaks, to say how far that is.
    8. The background mean is corrected at the network's own size and wiring.

    Parameters
    ----------
    network
        Any circuit, level, in-degree and size. Its inhibition, noise and time constants are kept, and so is the total
        excitatory charge where chi is the screw. Conductances are scaled by in-degree (of the population in the laminar
        circuit), whatever the set says.
    inputs
        Regions planned as inputs; they get the pulse and the f-I table. Default: the regions with the widest reach.
    rate_hz
        Spontaneous rate, default 4 Hz.
    loop_gain
        k, default 0.8 for the canonical and 0.65 for the laminar circuit.
    nmda_share
        Share of the excitatory charge that NMDA carries (0 to 1): a slow channel against a fast oscillation. Default:
        the network's own share, but at least 0.5.
    neurons_per_region
        Of the small network, default 100. A voxel Brain is calibrated on its regions, then its mean on its voxels.
    margin
        Whether to look for the gain at which the network breaks (a third of the time).
    seed
        Of noise and initial states; the wiring's is the network's.
    threads
        The result does not depend on it.
    dt_ms
        Integration step, default 1 ms.
    progress
        Called as ``progress(done, in all)``.

    Returns
    -------
    WorkingPoint

    Raises
    ------
    InputError
        If an input is unknown, or the network is synchronous, bistable, or does not reach the rate or gain.

    Examples
    --------
    >>> from twinbrain import Network, load_sample, Brain, calibrate
    >>> network = Network(Brain.from_subject(load_sample("101309")), neurons=15_040)  # doctest: +SKIP
    >>> calibrate(network, ["Thalamus_L", "Thalamus_R"]).loop_gain  # doctest: +SKIP
    0.797...
    """
    search = _search(network, inputs, rate_hz, loop_gain, nmda_share, neurons_per_region, seed, threads, dt_ms)
    search.tell = progress or (lambda done, total: None)
    search.check_linear()
    search.approach()
    search.hold_or_retreat()
    point = search.describe(margin)
    if network.neurons <= max(_LARGEST, search.trials.network.neurons):
        point = recentre(point, network, seed=seed, threads=threads, dt_ms=dt_ms)
    search.tell(Search.STAGES, Search.STAGES)
    return point


def recentre(
    point: WorkingPoint,
    network: Network,
    *,
    tolerance_hz: float = 0.05,
    seed: int = 0,
    threads: int = 1,
    dt_ms: float = 1.0,
) -> WorkingPoint:
    """Move a working point to a network of another size or wiring: only the background mean changes.

    Size, in-degree and the single wiring shift the mean rate by some tenths of a hertz. The spontaneous rate of this
    very network is measured, and the background mean corrected by a short bisection.

    Parameters
    ----------
    point
        Of the same person and circuit.
    network
        Its parameters are replaced by the point's.
    tolerance_hz
        How near to the point's rate to come, default 0.05 Hz.
    seed, threads, dt_ms
        As in :func:`calibrate`.

    Returns
    -------
    WorkingPoint
        With the network of this size, and in ``offset_hz`` what was removed.

    Raises
    ------
    InputError
        If the network does not come to the rate.

    Examples
    --------
    >>> twin = recentre(point, network.scaled(neurons=94_000, seed=2)).network  # doctest: +SKIP
    """
    own = bare(network, point.network.set)
    target = float(point.settings["rate_hz"])
    members = max(2, min(8, round(80_000 / own.neurons)))
    trials = Trials(own, np.zeros((0, 0)), seed, threads, members, dt_ms)
    finder = Centre(trials, target, tolerance_hz / target, ms=3000)
    slope = float(np.mean([f.background_slope for f in mean_field(own, target)]))
    found = finder.find(own.set, guess=0.0, slope=slope)
    first = finder.tried[0][1]
    settings = {**point.settings, "recentred_neurons": own.neurons, "recentred_rate_hz": finder.tried[-1][1]}
    return replace(point, network=replace(own, parameters=found), offset_hz=float(first - target), settings=settings)


def region_counterpart(brain: Brain) -> Brain:
    """Return the Brain with one voxel per region that a voxel Brain corresponds to."""
    if brain.level == "region":
        return brain
    n = len(brain.regions)
    grey = np.bincount(brain.region_index, weights=brain.grey_matter, minlength=n)
    factor = np.bincount(brain.region_index, weights=brain.grey_matter * brain.in_degree_factor, minlength=n) / grey
    first = np.searchsorted(brain.region_index, np.arange(n))
    C = region_projection(brain)
    np.fill_diagonal(C, 0.0)
    total = C.sum(axis=1, keepdims=True)
    C = C / np.where(total > 0, total, 1.0)
    return Brain(
        name=brain.name,
        level="region",
        regions=brain.regions,
        voxels=brain.regions,
        region_index=np.arange(n, dtype=np.int64),
        grey_matter=np.asarray(grey, np.float64),
        in_degree_factor=factor,
        laminar=brain.laminar[first].copy(),
        projection=csr_array(C),
    )


def _search(
    network: Network,
    inputs: Sequence[str],
    rate_hz: float,
    loop_gain: float | None,
    nmda_share: float | None,
    neurons_per_region: int,
    seed: int,
    threads: int,
    dt_ms: float,
) -> Search:
    """Check what was asked for and set the search up."""
    brain = region_counterpart(network.brain)
    regions = list(brain.regions)
    chosen = [inputs] if isinstance(inputs, str) else [str(name) for name in inputs]
    for name in chosen:
        if name not in regions:
            raise InputError(
                f"inputs: no region is called '{name}' among the {len(regions)} of this Brain{nearest(name, regions)}"
            )
    if len(regions) < 4:
        raise InputError(
            f"calibrate: found {len(regions)} regions, expected at least 4, or there is no loop to measure; "
            "set the parameters by hand"
        )
    if not 0.2 <= rate_hz <= 20:
        raise InputError(f"rate_hz: found {rate_hz:g}, expected a spontaneous rate of 0.2 to 20 Hz; about 4 is usual")
    gain = LOOP_GAINS[network.circuit] if loop_gain is None else float(loop_gain)
    if not 0 < gain < 1:
        raise InputError(f"loop_gain: found {gain:g}, expected above 0 and below 1 (critical); 0.65 to 0.8 is usual")
    if nmda_share is not None and not 0 <= nmda_share <= 1:
        raise InputError(f"nmda_share: found {nmda_share:g}, expected a share from 0 to 1; 0.5 to 0.8 is usual")
    if neurons_per_region < 20:
        raise InputError(f"neurons_per_region: found {neurons_per_region}, expected at least 20 (4 of them inhibitory)")
    start = network.set
    share = max(nmda_share_of(start), 0.5) if nmda_share is None else float(nmda_share)
    scaling = "population" if network.circuit == "laminar" else "in_degree"
    base = start.name.removeprefix("calibrated ")
    start = replace(with_nmda_share(start, share), conductance_scaling=scaling, name=f"calibrated {base}")
    small = bare(replace(network, brain=brain, neurons=neurons_per_region * len(regions), neurons_by="equal"), start)
    C = region_projection(brain)
    reach = [int(i) for i in np.argsort(-C.sum(axis=0), kind="stable")]
    named = [regions.index(name) for name in chosen] or reach[: max(2, min(10, len(regions) // 8))]
    spread = max(2, min(10, len(regions) // 8))
    probes = (named + [i for i in reach if i not in named])[: max(spread, min(len(named), spread))]
    trials = Trials(small, C, seed, threads, 8, dt_ms)
    return Search(
        network,
        trials,
        start,
        np.array(named),
        np.array(probes),
        rate_hz,
        gain,
        share,
        asked=tuple(chosen) or tuple(regions[i] for i in named),
    )
