"""An experiment as data: a table of conditions x seeds x people, each condition a rule on the network or its drive.

A design says everything an experiment needs besides the study it starts from. It is written in TOML, so that two
designs can be compared line by line, and read back as strictly as a study.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import msgspec

from twinbrain.errors import InputError, nearest
from twinbrain.rules import EdgeRule, as_rules

__all__ = [
    "KEEP",
    "Condition",
    "Design",
    "Stimulus",
    "check_design",
    "design_from_dict",
    "design_to_dict",
    "design_to_toml",
    "read_design",
]

KEEP = ("totals", "rate_bins")
"""What a design may keep of each run besides BOLD and mean rates by region: spikes of the whole network in every
millisecond; rates by region in bins of `Design.resolution_s`."""

_MAX_BYTES = 5_000_000


class Stimulus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A current into the excitatory neurons of one region or voxel, on top of its drive.

    Attributes
    ----------
    target
        Region or voxel.
    amplitude
        Model units of current; below 0 it silences.
    shape
        ``pulse``: the amplitude as it is; ``rhythm``: ``amplitude sin(2 pi frequency_hz t)``, t from each start.
    start_s, duration_s
        After the first sample, and how long each lasts.
    every_s
        Repeated at this interval; 0: once.
    frequency_hz
        Of a rhythm.

    Examples
    --------
    >>> Stimulus(target="Thalamus_L", amplitude=0.03, start_s=1.0, duration_s=0.1).shape
    'pulse'
    """

    target: str
    amplitude: float
    shape: Literal["pulse", "rhythm"] = "pulse"
    start_s: float = 0.0
    duration_s: float = 1.0
    every_s: float = 0.0
    frequency_hz: float = 0.0


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table: what differs from the intact twin under the fitted drive. The default is that twin.

    Attributes
    ----------
    name
        Shown in tables and figures.
    control
        Name of the condition this one is compared with; empty: of none.
    neurons, in_degree
        Of the network; 0: the study's. Conductances follow 1 / in_degree.
    rewire, share
        Connectome whose ``share`` (P, 0 to 1) of connections is rewired: ``nearest``, to one of the k nearest voxels;
        the nulls ``degrees``, ``lengths``, ``weights``, ``regions`` rewire all (see :mod:`twinbrain.rewire`).
    strongest
        Which share of the connections, by weight, counts as connections when rewiring; the rest fills the gaps.
    rules
        Lesions and gains, applied after wiring.
    like
        Name of a condition: instead of rules of its own, as many other connections, of the same weights, are cut.
    like_from
        ``elsewhere``: those from other source regions; ``same``: from the same ones, to other targets.
    inputs
        Regions whose drive is fitted; empty: the study's.
    drive
        ``fitted``; the nulls ``constant`` (every input at its mean) and ``shifted`` (later by half its length); or
        ``none``.
    stimuli
        On top of the drive.
    noise
        Another noise for the same network; 0: the matched one.
    members
        Runs that differ in noise alone; 0: the study's.
    volumes
        How many volumes of the drive are run; 0: all.
    note
        For the page.

    Examples
    --------
    >>> cut = EdgeRule(source="Calcarine_L", target="Cuneus_L")
    >>> Condition(name="V1 -> Cuneus", control="intact", rules=(cut,)).rewire
    'none'
    """

    name: str
    control: str = ""
    neurons: int = 0
    in_degree: int = 0
    rewire: Literal["none", "nearest", "degrees", "lengths", "weights", "regions"] = "none"
    share: float = 0.0
    strongest: float = 0.2
    rules: tuple[EdgeRule, ...] = ()
    like: str = ""
    like_from: Literal["elsewhere", "same"] = "elsewhere"
    inputs: tuple[str, ...] = ()
    drive: Literal["fitted", "constant", "shifted", "none"] = "fitted"
    stimuli: tuple[Stimulus, ...] = ()
    noise: int = 0
    members: int = 0
    volumes: int = 0
    note: str = ""


class Design(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole experiment, to be run on the network and the fit of a study.

    Attributes
    ----------
    experiment
        Name of the experiment, which knows how to judge the results.
    conditions
        In the order of the tables.
    people
        Sample people, or participants of the study's BIDS folder; empty: the study's own.
    seeds
        Each gives a wiring and a noise of its own, the same in all conditions: pairs are matched.
    keep
        Of `KEEP`.
    resolution_s
        Rows of the drive while there are stimuli, and bins of rates; 0: the repetition time.
    settings
        Of the experiment's own analysis.

    Examples
    --------
    >>> Design(experiment="lesion", conditions=(Condition(name="intact"),)).seeds
    (1, 2, 3, 4, 5)
    """

    experiment: str
    conditions: tuple[Condition, ...]
    people: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    keep: tuple[str, ...] = ()
    resolution_s: float = 0.0
    settings: dict[str, Any] = {}

    def condition(self, name: str) -> Condition:
        """Return the condition of a name."""
        return next(c for c in self.conditions if c.name == name)


def check_design(design: Design, source: str = "design") -> Design:
    """Refuse a design that cannot be run, in one sentence; return it.

    Raises
    ------
    InputError
        If names are double or unknown, or a number is impossible. Regions are checked when the brain is known.

    Examples
    --------
    >>> check_design(Design(experiment="lesion", conditions=(Condition(name="a", control="b"),)))
    Traceback (most recent call last):
    twinbrain.errors.InputError: design: condition 'a' has the control 'b', which is not a condition of it
    """
    names = [c.name for c in design.conditions]
    if not names or not design.seeds:
        raise InputError(f"{source}: found no {'seed' if names else 'condition'}, expected at least one")
    for what, found in (
        ("condition", names),
        ("seed", [str(s) for s in design.seeds]),
        ("person", list(design.people)),
    ):
        twice = [x for x in found if found.count(x) > 1]
        if twice:
            raise InputError(f"{source}: {what} '{twice[0]}' appears twice; name each once")
    for kept in design.keep:
        if kept not in KEEP:
            raise InputError(f"{source}: keep has '{kept}'{nearest(kept, KEEP)}, expected {' or '.join(KEEP)}")
    if min(design.seeds) < 0:
        raise InputError(f"{source}: seed {min(design.seeds)} is below 0, expected whole numbers from 0")
    for c in design.conditions:
        where = f"{source}: condition '{c.name}'"
        for key in ("control", "like"):
            other = getattr(c, key)
            if other and (other not in names or other == c.name):
                raise InputError(
                    f"{where} has the {key} '{other}', which is not a condition of it{nearest(other, names)}"
                )
        if c.like and (c.rules or not design.condition(c.like).rules):
            raise InputError(f"{where} is like '{c.like}', so that one must have rules and this one none")
        if not 0 <= c.share <= 1 or not 0 < c.strongest <= 1:
            raise InputError(f"{where} has share {c.share:g} and strongest {c.strongest:g}, expected shares up to 1")
        if min(c.neurons, c.in_degree, c.members, c.volumes, c.noise) < 0:
            raise InputError(f"{where} has a number below 0; expected 0 (as in the study) or more")
        if 0 < c.volumes < 5:
            raise InputError(f"{where} has {c.volumes} volumes, expected at least 5, or 0 for all")
        for s in c.stimuli:
            if s.duration_s <= 0 or s.start_s < 0 or s.every_s < 0:
                raise InputError(
                    f"{where}: a stimulus starts at {s.start_s:g} s and lasts {s.duration_s:g} s; mend that"
                )
            if (s.shape == "rhythm") != (s.frequency_hz > 0):
                raise InputError(
                    f"{where}: a rhythm needs frequency_hz above 0, and a pulse none; found {s.frequency_hz:g}"
                )
    return design


def design_to_dict(design: Design) -> dict[str, Any]:
    """Return the design as plain data, defaults left out, as TOML and JSON can hold it.

    Examples
    --------
    >>> design_to_dict(Design(experiment="x", conditions=(Condition(name="a"),), seeds=(1,)))["conditions"]
    [{'name': 'a'}]
    """
    plain: dict[str, Any] = {"experiment": design.experiment}
    plain |= {key: getattr(design, key) for key in ("people", "seeds", "keep", "resolution_s", "settings")}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items() if value}
    return plain | {"conditions": [_changed(c) for c in design.conditions]}


def _changed(thing: Any) -> dict[str, Any]:
    """Fields of a struct that are not at their default."""
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(thing):
        value = getattr(thing, field.name)
        if value == field.default:
            continue
        if field.name == "rules":
            default = asdict(EdgeRule())
            value = [{k: v for k, v in rule.to_dict().items() if v != _listed(default[k])} for rule in value]
        elif field.name == "stimuli":
            value = [_changed(stimulus) for stimulus in value]
        made[field.name] = _listed(value)
    return made


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def design_to_toml(design: Design) -> str:
    """Write the design as TOML; :func:`design_from_dict` of it gives the same design.

    Examples
    --------
    >>> text = design_to_toml(Design(experiment="x", conditions=(Condition(name="a", share=0.5),)))
    >>> design_from_dict(tomllib.loads(text)).conditions[0].share
    0.5
    """
    import tomli_w

    return tomli_w.dumps(design_to_dict(design))


def design_from_dict(data: Mapping[str, Any], source: str = "design") -> Design:
    """Make a checked design of plain data.

    Raises
    ------
    InputError
        If a key is unknown or a value unusable.

    Examples
    --------
    >>> design_from_dict({"experiment": "x", "conditions": [{"name": "a", "shar": 1}]})
    Traceback (most recent call last):
    twinbrain.errors.InputError: design: condition 1 has no key 'shar'; did you mean 'share'?
    """
    _known(data, Design, source)
    rows = data.get("conditions", [])
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(f"{source}: conditions is {type(rows).__name__}, expected a list of tables [[conditions]]")
    made = []
    for number, row in enumerate(rows, 1):
        where = f"{source}: condition {number}"
        _known(row, Condition, where)
        plain = {key: value for key, value in row.items() if key != "rules"}
        for stimulus in row.get("stimuli", []):
            _known(stimulus, Stimulus, f"{where}: stimulus")
        try:
            condition = msgspec.convert(plain, Condition)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: {error}") from None
        made.append(msgspec.structs.replace(condition, rules=as_rules(row.get("rules", ()))))
    try:
        design = msgspec.convert({**data, "conditions": []}, Design)
    except msgspec.ValidationError as error:
        raise InputError(f"{source}: {error}") from None
    return check_design(msgspec.structs.replace(design, conditions=tuple(made)), source)


def _known(data: Mapping[str, Any], kind: Any, where: str) -> None:
    for key in data:
        if key not in kind.__struct_fields__:
            hint = nearest(str(key), kind.__struct_fields__) or f"; its keys are {', '.join(kind.__struct_fields__)}"
            raise InputError(f"{where} has no key '{key}'{hint}")


def read_design(path: str | Path) -> Design:
    """Read a design from TOML.

    Raises
    ------
    InputError
        If the file is missing or no TOML, or holds what cannot be used.

    Examples
    --------
    >>> read_design("no/such/design.toml")
    Traceback (most recent call last):
    twinbrain.errors.InputError: no/such/design.toml: cannot be read (No such file or directory); expected a design
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES)
        data = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a design") from None
    except (ValueError, RecursionError) as error:  # also what is no TOML, or no text
        raise InputError(f"{path}: is not valid TOML ({' '.join(str(error).split())[:200]}); mend the file") from None
    return design_from_dict(data, str(path))
