"""Rules on edges: lesions and gains of chosen connections, applied after wiring so that all others stay the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest
from twinbrain.kernels.slots import Gains

__all__ = ["EdgeRule", "gains_of", "lesion"]

_SIGNS = {"excitatory": 1, "inhibitory": -1}


@dataclass(frozen=True)
class EdgeRule:
    """Multiply the weights of chosen synapses by a gain; 0 removes them.

    A rule selects a synapse if its source, its target and its reach are all selected. It acts after wiring: no other
    synapse changes. Several rules on one synapse multiply. Gains are multiples of 1/256, and a weight times its gain
    is rounded to the nearest of the 255 steps a weight has.

    Attributes
    ----------
    source, target : tuple of str
        Regions or voxels that the synapses leave or reach; empty: all.
    source_populations, target_populations : tuple of str
        Populations (``"E"``, ``"L5E"``), layers (``"L5"``) or signs (``"excitatory"``, ``"inhibitory"``); empty: all.
    reach : "all", "local" or "long_range"
        ``local``: synapses inside a voxel; ``long_range``: between voxels.
    gain : float
        0 ... 255. Default 0.

    Raises
    ------
    InputError
        If the gain or the reach is not possible; unknown names are found when the rule meets a Network.

    Examples
    --------
    >>> EdgeRule(source="Calcarine_L", target=["Precentral_L"], reach="long_range")
    EdgeRule(source=('Calcarine_L',), target=('Precentral_L',), source_populations=(), target_populations=(), \
reach='long_range', gain=0.0)
    """

    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    source_populations: tuple[str, ...] = ()
    target_populations: tuple[str, ...] = ()
    reach: Literal["all", "local", "long_range"] = "all"
    gain: float = 0.0

    def __post_init__(self) -> None:
        for name in ("source", "target", "source_populations", "target_populations"):
            value = getattr(self, name)
            names = (value,) if isinstance(value, str) else tuple(value)
            if not all(isinstance(n, str) for n in names):
                raise InputError(f"edge rule: {name} must be names, found {value!r}")
            object.__setattr__(self, name, names)
        reaches = ("all", "local", "long_range")
        if self.reach not in reaches:
            raise InputError(
                f"edge rule: reach is '{self.reach}'{nearest(str(self.reach), reaches)}, expected one of "
                f"{', '.join(reaches)}"
            )
        if isinstance(self.gain, bool) or not isinstance(self.gain, (int, float)) or not 0 <= self.gain <= 255:
            raise InputError(f"edge rule: gain is {self.gain!r}, expected a number between 0 and 255")
        object.__setattr__(self, "gain", math.floor(float(self.gain) * 256 + 0.5) / 256)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as plain data, as a study holds it.

        Examples
        --------
        >>> EdgeRule(target="a", gain=0.5).to_dict()["gain"]
        0.5
        """
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def lesion(regions: Sequence[str] = (), populations: Sequence[str] = ()) -> tuple[EdgeRule, EdgeRule]:
    """Return the rules that cut off whole regions, or populations of them: all edges out of them and into them.

    The neurons stay, and fire from their background alone.

    Parameters
    ----------
    regions : sequence of str
        Regions or voxels; empty: all, then ``populations`` says which neurons.
    populations : sequence of str
        Populations, layers or signs, as in :class:`EdgeRule`; empty: all of the regions.

    Raises
    ------
    InputError
        If nothing is named.

    Examples
    --------
    >>> [rule.source or rule.target for rule in lesion(["Insula_L"])]
    [('Insula_L',), ('Insula_L',)]
    """
    if not regions and not populations:
        raise InputError("a lesion needs a region or a population; name at least one")
    return (
        EdgeRule(source=tuple(regions), source_populations=tuple(populations)),
        EdgeRule(target=tuple(regions), target_populations=tuple(populations)),
    )


def as_rules(rules: Iterable[EdgeRule | Mapping[str, Any]]) -> tuple[EdgeRule, ...]:
    """Return rules given as such or as plain data."""
    fields = tuple(EdgeRule.__dataclass_fields__)
    made = []
    for rule in rules:
        if isinstance(rule, Mapping):
            for key in rule:
                if key not in fields:
                    raise InputError(f"edge rule: unknown key '{key}'{nearest(str(key), fields)}")
            rule = EdgeRule(**rule)
        if not isinstance(rule, EdgeRule):
            raise InputError(f"rules must be EdgeRule objects, found {type(rule).__name__}")
        made.append(rule)
    return tuple(made)


def gains_of(
    rules: Sequence[EdgeRule], populations: pd.DataFrame, regions: Sequence[str], voxels: Sequence[str]
) -> Gains:
    """Turn rules into what the kernels take: who is selected, population by population.

    Parameters
    ----------
    rules
        Rules.
    populations
        The table of a Network: columns voxel, region, name, sign.
    regions, voxels
        Names of the Brain.

    Raises
    ------
    InputError
        If a region, voxel or population is unknown; the message suggests the nearest name.
    """
    count = len(populations)
    source, target = np.zeros((len(rules), count), np.bool_), np.zeros((len(rules), count), np.bool_)
    for k, rule in enumerate(rules):
        source[k] = _where(rule.source, populations, regions, voxels) & _who(rule.source_populations, populations)
        target[k] = _where(rule.target, populations, regions, voxels) & _who(rule.target_populations, populations)
    return Gains(
        source=source,
        target=target,
        near=np.array([rule.reach != "long_range" for rule in rules], np.bool_),
        far=np.array([rule.reach != "local" for rule in rules], np.bool_),
        gain=np.array([rule.gain for rule in rules], np.float64),
    )


def _where(
    names: Sequence[str], populations: pd.DataFrame, regions: Sequence[str], voxels: Sequence[str]
) -> NDArray[np.bool_]:
    """Populations in the named regions or voxels."""
    if not names:
        return np.ones(len(populations), np.bool_)
    known_regions, place = set(regions), {str(v): k for k, v in enumerate(voxels)}
    chosen = np.zeros(len(populations), np.bool_)
    for name in names:
        if name in known_regions:
            chosen |= (populations["region"] == name).to_numpy()
        elif name in place:
            chosen |= (populations["voxel"] == place[name]).to_numpy()
        else:
            raise InputError(
                f"edge rule: '{name}' is not a region or voxel of this Brain{nearest(name, regions)}; it has "
                f"{len(regions)} regions"
            )
    return chosen


def _who(names: Sequence[str], populations: pd.DataFrame) -> NDArray[np.bool_]:
    """Populations of the named types, layers or signs."""
    if not names:
        return np.ones(len(populations), np.bool_)
    found = sorted(set(populations["name"]))
    layers = {name[:-1] for name in found if len(name) > 1}
    chosen = np.zeros(len(populations), np.bool_)
    for name in names:
        if name in found:
            chosen |= (populations["name"] == name).to_numpy()
        elif name in layers:
            chosen |= populations["name"].isin([f"{name}E", f"{name}I"]).to_numpy()
        elif name in _SIGNS:
            chosen |= (populations["sign"] == _SIGNS[name]).to_numpy()
        else:
            known = [*found, *sorted(layers), *_SIGNS]
            raise InputError(
                f"edge rule: '{name}' is not a population of this Network{nearest(name, known)}; it has "
                f"{', '.join(known)}"
            )
    return chosen
