"""What a condition does: to the network, by rules on its edges or its connectome; to the drive, by what is added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from twinbrain.brain import Brain
from twinbrain.drive import Drive
from twinbrain.errors import InputError, nearest
from twinbrain.experiment.design import Condition, Design, Stimulus
from twinbrain.experiment.evidence import null_drives
from twinbrain.experiment.setup import Setup
from twinbrain.network import Network
from twinbrain.rewire_brain import rewire_brain
from twinbrain.rules import EdgeRule

__all__ = ["drive_of", "lesioned_weight", "network_of", "random_lesion", "stimulated"]

_NEAR = 12  # connections of about the same weight among which a random one is drawn


def network_of(setup: Setup, design: Design, condition: Condition, seed: int) -> Network:
    """Return the network of a condition; with nothing to do it is the intact one, by its hash too.

    Parameters
    ----------
    setup
        The person.
    design
        Where the conditions that are referred to stand.
    condition
        What to do.
    seed
        Of the design: wiring, and draws of a rewiring or a random lesion.

    Raises
    ------
    InputError
        If a region of a rule is unknown.

    Examples
    --------
    >>> network_of.__annotations__["return"]
    'Network'
    """
    network = setup.base(condition.neurons, condition.in_degree, seed)
    if condition.rewire != "none":
        brain = rewire_brain(network.brain, condition.rewire, condition.share, strongest=condition.strongest, seed=seed)
        network = network if brain is network.brain else replace(network, brain=brain)
    rules = condition.rules
    if condition.like:
        rules = random_lesion(
            network.brain,
            design.condition(condition.like).rules,
            same_sources=condition.like_from == "same",
            spare=condition.inputs or setup.inputs,
            seed=seed,
        )
    return replace(network, rules=(*network.rules, *rules)) if rules else network


def lesioned_weight(brain: Brain, rules: Sequence[EdgeRule]) -> float:
    """Return how much of all long-range input rules remove, summed over targets: 1 is all input of one region.

    Examples
    --------
    >>> from twinbrain.data.subject import Subject
    >>> brain = Brain.from_subject(Subject.from_arrays([[0, 1, 3], [2, 0, 2], [5, 0, 0]], ["a", "b", "c"]))
    >>> lesioned_weight(brain, [EdgeRule(source="c", target="a")])
    0.75
    """
    left = np.ones((len(brain.regions),) * 2)
    for rule in rules:
        if rule.reach == "local" or rule.source_populations or rule.target_populations:
            continue
        left[np.ix_(_rows(brain, rule.target), _rows(brain, rule.source))] *= rule.gain
    return float(((1.0 - left) * _regional(brain)).sum())


def random_lesion(
    brain: Brain,
    rules: Sequence[EdgeRule],
    *,
    same_sources: bool = False,
    spare: Sequence[str] = (),
    seed: int = 0,
) -> tuple[EdgeRule, ...]:
    """Cut as many connections elsewhere as rules cut between regions, each of about the same weight.

    The control of a lesion: it removes as much, in other places. For every cut connection one is drawn among the
    twelve nearest to it in weight that the lesion leaves alone: from other sources, or from the same ones to other
    targets. What one draw misses of the weight is made good by the next.

    Parameters
    ----------
    brain
        Whose connections.
    rules
        The lesion.
    same_sources
        Whether the connections begin in the lesioned sources.
    spare
        With other sources: regions whose outgoing connections are never drawn, since the loss of a driven region's
        would cost more than any other.
    seed
        Of the draws.

    Returns
    -------
    tuple of EdgeRule
        One for each source region.

    Raises
    ------
    InputError
        If the rules cut no connection between regions, or there are too few others.

    Examples
    --------
    >>> from twinbrain.data.subject import Subject
    >>> brain = Brain.from_subject(Subject.from_arrays(np.ones((6, 6)) - np.eye(6), list("abcdef")))
    >>> rules = [EdgeRule(source="a", target=["b"], reach="long_range")]
    >>> control = random_lesion(brain, rules, seed=1)
    >>> round(lesioned_weight(brain, rules), 6) == round(lesioned_weight(brain, control), 6)
    True
    """
    weights = _regional(brain)
    cut = np.zeros(weights.shape, bool)
    for rule in rules:
        if rule.gain < 1 and rule.reach != "local":
            cut[np.ix_(_rows(brain, rule.target), _rows(brain, rule.source))] = True
    cut &= weights > 0
    if not cut.any():
        raise InputError("a random lesion is wanted, but the rules cut no connection between regions; name some")
    free = (weights > 0) & ~cut
    sources = cut.any(axis=0)
    if same_sources:
        free[:, ~sources] = False
    else:
        free[:, sources] = False
        free[:, [brain.regions.index(name) for name in spare if name in brain.regions]] = False
    places = np.argwhere(free)
    if len(places) < cut.sum():
        raise InputError(f"a random lesion of {int(cut.sum())} connections is wanted, but only {len(places)} are left")
    found = weights[free]
    random = np.random.Generator(np.random.Philox(key=np.array([seed, 61], np.uint64)))
    taken = np.zeros(len(found), bool)
    chosen: dict[int, list[int]] = {}
    owed = 0.0
    for weight in np.sort(weights[cut])[::-1]:  # the largest first: they are the hardest to match
        far = np.where(taken, np.inf, np.abs(np.log(found / max(weight + owed, weight / 2))))
        nearest_few = np.argsort(far, kind="stable")[: max(1, min(_NEAR, int((~taken).sum())))]
        pick = int(nearest_few[random.integers(len(nearest_few))])
        taken[pick] = True
        owed += weight - found[pick]
        target, source = places[pick]
        chosen.setdefault(int(source), []).append(int(target))
    names = brain.regions
    return tuple(
        EdgeRule(source=(names[s],), target=tuple(names[t] for t in sorted(ts)), reach="long_range")
        for s, ts in sorted(chosen.items())
    )


def _regional(brain: Brain) -> np.ndarray:
    from twinbrain.assimilate.linear import region_projection

    matrix = np.array(region_projection(brain))
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _rows(brain: Brain, names: Sequence[str]) -> np.ndarray:
    for name in names:
        if name not in brain.regions:
            raise InputError(f"edge rule: '{name}' is no region of '{brain.name}'{nearest(name, brain.regions)}")
    return np.array([brain.regions.index(name) for name in names] or range(len(brain.regions)), np.int64)


def drive_of(setup: Setup, design: Design, condition: Condition) -> tuple[Drive, int]:
    """Return the drive of a condition, and how many of its rows make one volume.

    Examples
    --------
    >>> drive_of.__annotations__["condition"]
    'Condition'
    """
    fitted = setup.fit(condition.inputs)
    rows = min(condition.volumes or fitted.values.sizes["time"], fitted.values.sizes["time"])
    if condition.drive in ("constant", "shifted"):
        nulls = null_drives(fitted)
        fitted = nulls["constant_input" if condition.drive == "constant" else "time_shifted_input"]
    drive = Drive(fitted.values.isel(time=slice(0, rows)), fitted.repetition_time_s, fitted.shape)
    if condition.drive == "none":
        drive = Drive(drive.values.isel(input=slice(0, 0)), drive.repetition_time_s, drive.shape)
    wanted = {s.target for s in condition.stimuli} | {s.target for c in design.conditions for s in c.stimuli}
    if not wanted or not design.resolution_s:
        if condition.stimuli:
            drive = stimulated(drive, condition.stimuli, sorted(wanted), drive.repetition_time_s)
        return drive, 1
    fine = stimulated(drive, condition.stimuli, sorted(wanted), design.resolution_s)
    return fine, fine.values.sizes["time"] // rows


def stimulated(drive: Drive, stimuli: Sequence[Stimulus], targets: Sequence[str], resolution_s: float) -> Drive:
    """Add stimuli to a drive, in rows of a finer clock.

    Parameters
    ----------
    drive
        Without them.
    stimuli
        What to add; times count from the beginning of the first row.
    targets
        Regions that get a column whether they are stimulated or not, so that all conditions have the same inputs and
        the same factors per neuron.
    resolution_s
        Length of the new rows; a whole number of them makes an old one.

    Raises
    ------
    InputError
        If the rows do not fit.

    Examples
    --------
    >>> drive = Drive.constant({"a": 0.1}, duration_s=2.0, repetition_time_s=1.0)
    >>> stimulated(drive, [Stimulus(target="b", amplitude=1.0, start_s=0.5, duration_s=0.5)], ["b"], 0.5).values.values
    array([[0.1, 0. ],
           [0.1, 1. ],
           [0.1, 0. ],
           [0.1, 0. ]])
    """
    tr = drive.repetition_time_s
    parts = round(tr / resolution_s)
    if parts < 1 or abs(parts * resolution_s - tr) > 1e-9:
        raise InputError(
            f"resolution_s is {resolution_s:g} s, but a whole number of rows must make a repetition time of {tr:g} s"
        )
    names = [*drive.inputs, *(t for t in targets if t not in drive.inputs)]
    rows = drive.values.sizes["time"] * parts
    values = np.zeros((rows, len(names)))
    values[:, : len(drive.inputs)] = np.repeat(drive.values.values, parts, axis=0)
    start = np.arange(rows) * resolution_s
    for s in stimuli:
        since = start - s.start_s
        since = np.where(since >= -1e-9, np.mod(since + 1e-9, s.every_s) if s.every_s else since, -1.0)
        inside = (since >= -1e-9) & (since < s.duration_s - 1e-9)
        wave = np.sin(2 * np.pi * s.frequency_hz * (since + resolution_s / 2)) if s.shape == "rhythm" else 1.0
        values[:, names.index(s.target)] += np.where(inside, s.amplitude * wave, 0.0)
    times = np.asarray(drive.values["time"].values, np.float64)
    first = times[0] - tr if len(times) else 0.0
    time = first + (np.arange(rows) + 1) * resolution_s
    made = xr.DataArray(values, dims=("time", "input"), coords={"time": time, "input": names}, attrs=drive.values.attrs)
    return Drive(made, resolution_s, drive.shape)
