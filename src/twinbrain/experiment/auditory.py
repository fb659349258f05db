"""A synthetic auditory person: sounds of known strength into A1, and a score of every trial by a known rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse.trials import trial_responses
from twinbrain.data.sample import load_sample
from twinbrain.data.subject import Subject
from twinbrain.drive import Drive
from twinbrain.errors import InputError, nearest
from twinbrain.experiment.synthetic import response
from twinbrain.network import Network
from twinbrain.observe import to_regions
from twinbrain.simulate import simulate

__all__ = ["RULES", "AuditoryPerson", "auditory_person"]

Float = npt.NDArray[np.float64]
Rule = Literal["evoked", "hidden", "none"]

RULES = ("evoked", "hidden", "none")
"""What a score depends on: the response of a region that hears A1; of one that is driven by something else; nothing."""

_LEAD_S = 24.0  # before the first sound: the beginning of a fit is unreliable
_TAIL_S = 14.0
_LOOP_GAIN = 0.8  # of the linear person: what the connectome passes on, as at the working point of the networks
_SLOW_S = 8.0  # memory of hidden drive and of private noise
_SOUND, _HIDDEN = 0.06, 0.01  # model units of current: per unit of strength; standard deviation
_LOUD, _UNHEARD, _PRIVATE = 2.0, 0.7, 0.3  # the same of the linear person, standard deviations
_KEY = 81


@dataclass(frozen=True, eq=False)
class AuditoryPerson:
    """A person and what is planted in it; made by :func:`auditory_person`.

    Attributes
    ----------
    subject
        The person as an experiment sees it: run ``auditory`` with its events (onset, duration, score).
    events
        onset, duration (s), ``strength`` of each sound, ``response`` of the region of the rule, ``score``.
    drive
        (time, input) what drives the inputs (strength of sound) and the hidden regions (standard deviations).
    planted
        (time, region) BOLD without measurement noise, standard deviations of each region.
    inputs, hidden
        Regions that hear the sounds, and regions driven by something nobody is told of.
    rule
        One of `RULES`.
    regions
        Whose mean response the score is made of; empty for ``"none"``.

    Examples
    --------
    >>> AuditoryPerson.__dataclass_params__.frozen
    True
    """

    subject: Subject
    events: pd.DataFrame
    drive: xr.DataArray
    planted: xr.DataArray
    inputs: tuple[str, ...]
    hidden: tuple[str, ...]
    rule: str
    regions: tuple[str, ...]


def auditory_person(
    anatomy: Subject | None = None,
    *,
    network: Network | None = None,
    trials: int = 60,
    repetition_time_s: float = 1.5,
    every_s: float = 6.0,
    duration_s: float = 2.0,
    rule: Rule = "evoked",
    noise: float = 0.3,
    measurement: float = 0.2,
    inputs: tuple[str, ...] = ("Heschl_L", "Heschl_R"),
    hidden: tuple[str, ...] = ("Calcarine_L", "Calcarine_R"),
    threads: int = 1,
    seed: int = 1,
) -> AuditoryPerson:
    """Plant sounds, and scores that follow from them (or do not).

    Sounds come every ``every_s`` +- 20 %, with strengths drawn uniformly from 0.2 to 1.8. BOLD is linear by default:

    ``a = (1 - k P)^-1 (s + n)``,  P = connectome with rows summing to 1, k = 0.8,

    with s = strength while a sound lasts, in the inputs (scaled to standard deviation 2); a smooth process of memory
    8 s in the hidden regions (0.7) and, privately, in every region (0.3); BOLD = a convolved with a double gamma
    (Glover 1999). With ``network`` it is the network's: current 0.06 x strength into the inputs, a smooth process of
    standard deviation 0.01 into the hidden regions. White measurement noise is added.

    The score is ``50 + 10 (sqrt(1 - noise) z + sqrt(noise) e)``, z = standardised response
    (:func:`twinbrain.trial_responses`) of: ``"evoked"``, the BOLD, before measurement noise, of the two regions without
    input that the inputs reach most; ``"hidden"``, the haemodynamic answer to the hidden drive alone, which a twin of
    the inputs cannot know; ``"none"``: nothing, the score is noise.

    Parameters
    ----------
    anatomy
        Whose connectome; default: the first sample person.
    network
        Simulates the BOLD; a network of the same anatomy.
    trials
        Number of sounds.
    repetition_time_s
        Seconds from volume to volume.
    every_s, duration_s
        From sound to sound, and how long each lasts, s.
    rule
        One of `RULES`.
    noise
        Share of the score's variance that nothing explains, 0 to 1.
    measurement
        Standard deviation of measurement noise, in those of each region's BOLD.
    inputs, hidden
        Regions of ``anatomy``.
    threads
        For the network; the result does not depend on it.
    seed
        Key of all random numbers.

    Returns
    -------
    AuditoryPerson

    Raises
    ------
    InputError
        If a region or a number cannot be used.

    Examples
    --------
    >>> from twinbrain.data.subject import Subject
    >>> chain = Subject.from_arrays(np.eye(6, k=-1) + np.eye(6, k=1), list("ABCDEF"))
    >>> made = auditory_person(chain, inputs=("A",), hidden=("F",), trials=20)
    >>> made.regions, len(made.subject.events["auditory"])
    (('B', 'C'), 20)
    """
    anatomy = load_sample() if anatomy is None else anatomy
    _check(anatomy, network, inputs, hidden, trials, rule, noise, every_s, repetition_time_s)
    random = np.random.Generator(np.random.Philox(key=np.array([seed, _KEY], np.uint64)))
    onset: Float = np.asarray(_LEAD_S + every_s * (np.arange(trials) + random.uniform(-0.2, 0.2, trials)), np.float64)
    strength: Float = np.asarray(random.uniform(0.2, 1.8, trials), np.float64)
    volumes = int(np.ceil((_LEAD_S + every_s * trials + _TAIL_S) / repetition_time_s))
    time = np.arange(volumes) * repetition_time_s
    sound = _overlap(
        np.asarray(onset, np.float64), duration_s, strength, np.asarray(time, np.float64), repetition_time_s
    )
    slow = _smooth(volumes, len(hidden), repetition_time_s, random)
    drive = xr.DataArray(
        np.hstack([np.repeat(sound[:, None], len(inputs), axis=1), slow]),
        dims=("time", "input"),
        coords={"time": time, "input": [*inputs, *hidden]},
        attrs={"units": "strength of sound; standard deviations"},
    )
    if network is None:
        bold = _linear(anatomy, drive, len(inputs), repetition_time_s, random)
    else:
        scale = np.array([_SOUND] * len(inputs) + [_HIDDEN] * len(hidden))
        run = simulate(
            network,
            drive=Drive(drive * scale, repetition_time_s),
            warm_up_s=10 * repetition_time_s,
            seed=seed,
            threads=threads,
        )
        bold = np.asarray(
            to_regions(run.bold).sel(region=list(anatomy.regions)).transpose("time", "region"), np.float64
        )
    bold = (bold - bold.mean(axis=0)) / bold.std(axis=0)
    named = {"time": time, "region": list(anatomy.regions)}
    planted = xr.DataArray(bold, dims=("time", "region"), coords=named)
    events = pd.DataFrame({"onset": onset, "duration": duration_s, "strength": strength})
    regions = _regions_of(rule, anatomy, inputs, hidden)
    told, untold = np.sqrt(1 - noise), np.sqrt(noise)
    chance = random.standard_normal(trials)
    if regions:
        source = _answer_of(drive, hidden, repetition_time_s) if rule == "hidden" else planted
        answer = trial_responses(source.sel(region=list(regions)), events).mean("region").values
        events["response"] = answer
        score = told * (answer - answer.mean()) / answer.std() + untold * chance
    else:
        events["response"], score = np.nan, chance
    events["score"] = 50 + 10 * score
    recorded = planted + measurement * random.standard_normal(planted.shape)
    subject = Subject.from_arrays(
        anatomy.connectome,
        anatomy.regions,
        {"auditory": recorded},
        repetition_time_s=repetition_time_s,
        grey_matter=anatomy.grey_matter,
        lengths=anatomy.lengths,
        positions=anatomy.positions,
        synaptic_density=anatomy.synaptic_density,
        laminar=anatomy.laminar,
        name="auditory",
        atlas=anatomy.atlas,
        provenance={**anatomy.provenance, "synthetic": f"auditory person, rule {rule}, seed {seed}: BOLD is not real"},
        bold_units="standard deviations",
        events={"auditory": events[["onset", "duration", "score"]]},
    )
    return AuditoryPerson(subject, events, drive, planted, tuple(inputs), tuple(hidden), rule, regions)


def _check(
    anatomy: Subject,
    network: Network | None,
    inputs: tuple[str, ...],
    hidden: tuple[str, ...],
    trials: int,
    rule: str,
    noise: float,
    every_s: float,
    repetition_time_s: float,
) -> None:
    for what, names in (("inputs", inputs), ("hidden", hidden)):
        for name in names:
            if name not in anatomy.regions:
                raise InputError(f"{what}: '{name}' is no region of '{anatomy.name}'{nearest(name, anatomy.regions)}.")
    if set(inputs) & set(hidden) or not inputs:
        raise InputError(f"inputs {inputs} and hidden {hidden}: expected at least one input and no region in both.")
    if rule not in RULES:
        raise InputError(f"rule is '{rule}'{nearest(rule, RULES)}, expected {', '.join(RULES)}; choose one.")
    if rule == "hidden" and not hidden:
        raise InputError("rule is 'hidden', but there is no hidden region; name one.")
    if not (0 <= noise <= 1 and trials >= 12 and every_s > 0 and repetition_time_s > 0):
        raise InputError(
            f"noise {noise}, trials {trials}, every_s {every_s}, repetition_time_s {repetition_time_s}: expected "
            "a share up to 1, at least 12 trials and positive times."
        )
    if network is not None and set(network.brain.regions) != set(anatomy.regions):
        raise InputError(f"network: its regions are not those of '{anatomy.name}'; build it from this person.")


def _overlap(onset: Float, duration: float, strength: Float, time: Float, seconds: float) -> Float:
    """Mean strength of sound in the interval before each volume."""
    begin = np.maximum(onset[None], time[:, None] - seconds)
    end = np.minimum(onset[None] + duration, time[:, None])
    return np.asarray(np.maximum(end - begin, 0.0) @ strength / seconds, np.float64)


def _smooth(volumes: int, count: int, seconds: float, random: np.random.Generator) -> Float:
    """First-order process of standard deviation 1."""
    from scipy.signal import lfilter

    keep = np.exp(-seconds / _SLOW_S)
    noise = random.standard_normal((volumes + 100, count)) * np.sqrt(1 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], noise, axis=0)[100:], np.float64)


def _linear(anatomy: Subject, drive: xr.DataArray, heard: int, seconds: float, random: np.random.Generator) -> Float:
    from scipy.signal import fftconvolve

    matrix = np.asarray(anatomy.connectome.values, np.float64)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-300)
    n, kernel = len(anatomy.regions), response(seconds)
    s = _PRIVATE * _smooth(len(drive), n, seconds, random)
    x = np.asarray(drive.values, np.float64)
    scale = [_LOUD / max(x[:, j].std(), 1e-12) if j < heard else _UNHEARD for j in range(x.shape[1])]
    for j, name in enumerate(drive["input"].values):
        s[:, anatomy.regions.index(str(name))] += scale[j] * x[:, j]
    activity = np.linalg.solve(np.eye(n) - _LOOP_GAIN * shares, s.T).T
    return np.asarray(fftconvolve(activity, kernel[:, None], axes=0)[: len(drive)], np.float64)


def _answer_of(drive: xr.DataArray, names: tuple[str, ...], seconds: float) -> xr.DataArray:
    """Return a drive as BOLD would show it, were there nothing else."""
    from scipy.signal import fftconvolve

    course = np.asarray(drive.sel(input=list(names)).values, np.float64)
    seen = fftconvolve(course, response(seconds)[:, None], axes=0)[: len(course)]
    return xr.DataArray(seen, dims=("time", "region"), coords={"time": drive["time"].values, "region": list(names)})


def _regions_of(rule: str, anatomy: Subject, inputs: tuple[str, ...], hidden: tuple[str, ...]) -> tuple[str, ...]:
    if rule == "none":
        return ()
    if rule == "hidden":
        return tuple(hidden)
    matrix = np.asarray(anatomy.connectome.values, np.float64)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-300)
    reach = np.linalg.inv(np.eye(len(shares)) - _LOOP_GAIN * shares)
    told = reach[:, [anatomy.regions.index(name) for name in inputs]].sum(axis=1)
    order = [anatomy.regions[k] for k in np.argsort(-told, kind="stable")]
    return tuple(name for name in order if name not in (*inputs, *hidden))[:2]
