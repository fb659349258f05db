"""The wiring inside one voxel: a laminar cortical column, or a canonical pair of E and I populations.

A circuit says which populations a voxel has, how its neurons are shared among them, from where each population
takes its synapses, and which populations send axons to other voxels. All tables carry their source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest

__all__ = ["CANONICAL_SHARES", "Circuit", "canonical", "laminar"]

#: Shares (local E, local I, long range) of the synapses of every neuron of a canonical voxel.
#: ``nsr``: sub-cortex of Lu et al. 2024 (Natl Sci Rev 11:nwae080); ``open``: the regional model of the same group's
#: open release; ``long_range``: the share used by this project's asynchronous working point.
CANONICAL_SHARES: dict[str, tuple[float, float, float]] = {
    "nsr": (0.60, 0.15, 0.25),
    "open": (4 / 7, 1 / 7, 2 / 7),
    "long_range": (0.10, 0.15, 0.75),
}

_LAYERS = ("L2/3E", "L2/3I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")

# Numbers of synapses per neuron; rows are targets, columns the eight sources and the cortico-cortical afferents.
_LAMINAR_SYNAPSES = np.array(
    [
        [3554, 804, 881, 45, 431, 0, 136, 0, 1020],
        [1778, 532, 456, 29, 217, 0, 69, 0, 396],
        [417, 84, 1070, 690, 79, 93, 1686, 0, 1489],
        [168, 41, 628, 538, 36, 0, 1028, 0, 790],
        [2550, 176, 765, 99, 621, 596, 363, 7, 1591],
        [1357, 76, 380, 32, 375, 403, 129, 0, 214],
        [643, 46, 549, 196, 327, 126, 925, 597, 2609],
        [80, 8, 92, 3, 159, 11, 76, 499, 1794],
    ],
    dtype=np.float64,
)
# Share of each layer among the column's neurons (per cent) and of excitatory cells within the layer.
_LAYER_PERCENT = np.array([33.8, 34.9, 7.6, 22.1])
_EXCITATORY = np.array([0.78, 0.80, 0.82, 0.83])


@dataclass(frozen=True, eq=False)
class Circuit:
    """The populations of one voxel and their sources.

    Attributes
    ----------
    name : str
        ``"laminar"`` or ``"canonical"``.
    populations : tuple of str
        Names of the P populations, E before I within a layer.
    sign : ndarray (P,)
        +1 excitatory, -1 inhibitory.
    fraction : ndarray (P,)
        Share of the voxel's neurons; sums to 1.
    sources : ndarray (P, P + 1)
        Row p: shares of the synapses of population p that come from each population of the same voxel and, in the
        last column, from other voxels; each row sums to 1.
    degree_scale : ndarray (P,)
        In-degree of the population divided by the mean in-degree; its mean weighted by ``fraction`` is 1.
    projecting : ndarray (P,)
        Share of each population among the long-range axons that leave the voxel; excitatory only; sums to 1.
    reference : str
        Where the numbers come from.

    Examples
    --------
    >>> column = laminar()
    >>> column.populations[:2], column.in_degree(100).tolist()
    (('L2/3E', 'L2/3I'), [122, 61, 99, 57, 120, 52, 107, 48])
    """

    name: str
    populations: tuple[str, ...]
    sign: NDArray[np.int64]
    fraction: NDArray[np.float64]
    sources: NDArray[np.float64]
    degree_scale: NDArray[np.float64]
    projecting: NDArray[np.float64]
    reference: str

    def in_degree(self, mean: float) -> NDArray[np.int64]:
        """Return the whole number of synapses per neuron of each population at a mean in-degree (at least 1)."""
        return np.maximum(1, np.floor(mean * self.degree_scale + 1e-9)).astype(np.int64)


def laminar() -> Circuit:
    """Return the laminar cortical column: E and I populations in layers 2/3, 4, 5 and 6.

    Synapse numbers are those of the laminar cortex model of Du, Vegh & Reutens 2012 (PLoS Comput Biol
    8:e1002672), which follow Binzegger, Douglas & Martin 2004 (J Neurosci 24:8441); layer 1 is left empty, as in the
    Digital Twin Brain (Lu et al. 2024). Long-range axons leave from the excitatory cells of all layers in
    proportion to their number.

    Examples
    --------
    >>> laminar().fraction.round(5).tolist()
    [0.26793, 0.07557, 0.28374, 0.07093, 0.06333, 0.0139, 0.18641, 0.03818]
    """
    weight = np.stack([_LAYER_PERCENT * _EXCITATORY, _LAYER_PERCENT * (1 - _EXCITATORY)], axis=1).ravel()
    fraction = weight / weight.sum()
    sign = np.array([1, -1] * 4)
    total = _LAMINAR_SYNAPSES.sum(axis=1)
    excitatory = np.where(sign > 0, fraction, 0.0)
    return Circuit(
        name="laminar",
        populations=_LAYERS,
        sign=sign,
        fraction=fraction,
        sources=_LAMINAR_SYNAPSES / total[:, None],
        degree_scale=total / (fraction @ total),
        projecting=excitatory / excitatory.sum(),
        reference="Du, Vegh & Reutens 2012 PLoS Comput Biol 8:e1002672; Binzegger et al. 2004 J Neurosci 24:8441",
    )


def canonical(shares: str | tuple[float, float, float] = "nsr") -> Circuit:
    """Return the canonical voxel: 80 % excitatory and 20 % inhibitory neurons.

    Parameters
    ----------
    shares
        A name of :data:`CANONICAL_SHARES` or the three shares (local E, local I, long range), which sum to 1.

    Raises
    ------
    InputError
        If the name is unknown, or the shares are negative or do not sum to 1.

    Examples
    --------
    >>> canonical("nsr").sources.tolist()
    [[0.6, 0.15, 0.25], [0.6, 0.15, 0.25]]
    """
    if isinstance(shares, str):
        if shares not in CANONICAL_SHARES:
            raise InputError(
                f"canonical shares '{shares}' are not known{nearest(shares, CANONICAL_SHARES)}; "
                f"use one of {', '.join(CANONICAL_SHARES)} or three numbers"
            )
        row = CANONICAL_SHARES[shares]
    else:
        row = shares
    values = np.asarray(row, np.float64)
    if values.shape != (3,) or (values < 0).any() or abs(values.sum() - 1) > 1e-9:
        raise InputError(
            "canonical shares must be three non-negative numbers (local E, local I, long range) that sum to 1, "
            f"found {row}"
        )
    return Circuit(
        name="canonical",
        populations=("E", "I"),
        sign=np.array([1, -1]),
        fraction=np.array([0.8, 0.2]),
        sources=np.stack([values, values]),
        degree_scale=np.ones(2),
        projecting=np.array([1.0, 0.0]),
        reference="Lu et al. 2024 Natl Sci Rev 11:nwae080",
    )
