"""The inputs of a fit as units: which voxels each one drives, and what of the recording it must explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from twinbrain.errors import InputError, nearest

if TYPE_CHECKING:
    from twinbrain.brain import Brain

__all__ = ["Units", "input_units"]

Array = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Units:
    """Inputs of a fit.

    Attributes
    ----------
    names
        Regions or voxels of the Brain, K of them.
    region
        (K,) position of the region each one is, or lies in.
    own
        (K, V) sparse, rows sum to 1: the mean over the voxels that a unit drives.
    seen
        (K, V) sparse, rows sum to 1: the mean over the voxels whose BOLD is the unit's observation. A voxel is
        observed by its own series if there is one, else by that of its region.
    observed_as
        (K,) names of these series.
    observation
        (R, V) sparse: regions as means of voxels.
    """

    names: tuple[str, ...]
    region: Int
    own: csr_array[np.float64]
    seen: csr_array[np.float64]
    observed_as: tuple[str, ...]
    observation: csr_array[np.float64]

    def voxels(self, unit: int) -> Int:
        """Return the voxels that a unit drives."""
        first, last = self.own.indptr[unit], self.own.indptr[unit + 1]
        return np.asarray(self.own.indices[first:last], np.int64)

    def weights(self, unit: int) -> Array:
        """Return the share of each of these voxels in the unit's mean."""
        first, last = self.own.indptr[unit], self.own.indptr[unit + 1]
        return np.asarray(self.own.data[first:last], np.float64)


def input_units(brain: Brain, inputs: Sequence[str], recorded: Sequence[str] = ()) -> Units:
    """Find the inputs in the Brain, by name.

    Parameters
    ----------
    brain
        At region or voxel level.
    inputs
        Names of regions, whose voxels then share one current, or of single voxels.
    recorded
        Names of the series of the recording.

    Returns
    -------
    Units

    Raises
    ------
    InputError
        If there is no input, one is unknown or named twice, or a voxel is driven twice.

    Examples
    --------
    >>> from twinbrain import Brain, Subject
    >>> units = input_units(Brain.from_subject(Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"])), ["b"])
    >>> units.names, units.region.tolist(), units.own.toarray().tolist()
    (('b',), [1], [[0.0, 1.0]])
    """
    chosen = (inputs,) if isinstance(inputs, str) else tuple(str(r) for r in inputs)
    if not chosen:
        raise InputError("inputs: found none, expected at least one region name; give e.g. inputs=['Thalamus_L']")
    regions = [str(r) for r in brain.regions]
    voxels = {str(v): i for i, v in enumerate(getattr(brain, "voxels", ()))}
    observation = csr_array(brain.observation)
    place: list[int] = []
    own: list[Any] = []
    seen: list[Any] = []
    observed_as: list[str] = []
    for name in chosen:
        if chosen.count(name) > 1:
            raise InputError(f"inputs: '{name}' appears {chosen.count(name)} times, expected once; remove it")
        if name in regions:
            place.append(regions.index(name))
            own.append(observation[[place[-1]]])
        elif name in voxels:
            place.append(int(brain.region_index[voxels[name]]))
            own.append(csr_array(([1.0], ([0], [voxels[name]])), shape=(1, observation.shape[1])))
        else:
            raise InputError(
                f"inputs: no region is called '{name}' among the {len(regions)} regions of the brain"
                f"{nearest(name, regions)}; correct the name"
            )
        by_itself = name in regions or name in recorded
        observed_as.append(name if by_itself else regions[place[-1]])
        seen.append(own[-1] if by_itself else observation[[place[-1]]])
    stacked = csr_array(vstack(own))
    twice = np.flatnonzero(np.bincount(stacked.indices, minlength=observation.shape[1]) > 1)
    if len(twice):
        raise InputError(
            f"inputs: voxel {twice[0]} of region '{regions[int(brain.region_index[twice[0]])]}' is driven by two "
            "inputs, expected one; name the region or its voxels, not both"
        )
    return Units(chosen, np.array(place, np.int64), stacked, csr_array(vstack(seen)), tuple(observed_as), observation)
