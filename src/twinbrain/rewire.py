"""Connectomes that keep some property of the measured one and lose the rest: is it the wiring that matters?"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.errors import InputError, nearest

__all__ = ["permute_regions", "permute_weights", "rewire_keeping_degrees", "rewire_keeping_lengths"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

# second half of the random key: one number per use of the seed
_DEGREES, _LENGTHS, _WEIGHTS, _REGIONS = 1, 2, 3, 4
_BLOCK = 512  # proposals looked at together; does not change the result
_PATIENCE = 500  # proposals per connection and wanted swap before we take what there is


def rewire_keeping_degrees(
    connectome: xr.DataArray, *, strongest: float = 1.0, swaps: float = 10.0, seed: int = 0
) -> xr.DataArray:
    """Exchange partners at random, so that each region keeps the number of its partners and its weights.

    Of two connections a -> b and c -> d without a -> d and c -> b, each target swaps the weights it receives from a
    and c; this is done about ``swaps`` times per connection, so that in the end all graphs that can be reached are
    about equally likely. Kept exactly: for every target, all weights it receives; for every source, the number of its
    connections; the empty diagonal. Lost: who is connected to whom. If the connectome is symmetric so is the result;
    then every region keeps its number of partners, and the weights are kept as a whole, not region by region.

    A dense connectome has no place to move a connection to. With ``strongest`` below 1 only that share of all
    connections counts as connections; a weaker one counts as none, and goes to the place the stronger comes from.

    Parameters
    ----------
    connectome
        (target, source) with region names, >= 0, finite, diagonal 0; any units. Row = target.
    strongest
        Share of the connections, by weight, that are moved, above 0 to 1. Default 1, all.
    swaps
        Swaps per connection. Default 10; 0 returns a copy.
    seed
        Key of the random numbers; with the region names alone it decides the result, not their order.

    Returns
    -------
    DataArray like ``connectome``; the attribute ``moved`` is the share of the (strongest) connections that are new.

    Raises
    ------
    InputError
        If the connectome or an option is not possible.

    Warns
    -----
    UserWarning
        If fewer than a fifth of the connections could be moved.

    References
    ----------
    Maslov & Sneppen (2002), Science 296:910; Rubinov & Sporns (2010), NeuroImage 52:1059.

    Examples
    --------
    >>> names = {"target": list("ABCDEF"), "source": list("ABCDEF")}
    >>> ring = xr.DataArray(np.roll(np.eye(6), 1, axis=0) + np.roll(np.eye(6), 2, axis=0), names, ("target", "source"))
    >>> new = rewire_keeping_degrees(ring, seed=1)
    >>> new.sum("target").values, new.sum("source").values, bool((new == ring).all())
    (array([2., 2., 2., 2., 2., 2.]), array([2., 2., 2., 2., 2., 2.]), False)
    """
    values = _checked(connectome)
    return _rewired(connectome, values, np.zeros(values.shape, dtype=np.int64), strongest, swaps, seed, _DEGREES)


def rewire_keeping_lengths(
    connectome: xr.DataArray,
    lengths: xr.DataArray,
    *,
    bins: int = 10,
    strongest: float = 1.0,
    swaps: float = 10.0,
    seed: int = 0,
) -> xr.DataArray:
    """Exchange partners as :func:`rewire_keeping_degrees`, but only for partners about as far away.

    Lengths of the (strongest) connections are cut into ``bins`` equally filled bins; a swap is allowed if, for both
    targets, the new partner lies in the same bin as the old one. So besides the degrees every target keeps, bin by
    bin, the weights it receives (if symmetric: the whole keeps them), and with them the lengths' distribution and how
    weights fall with length: the cost of the wiring. Lost: which of the equally distant partners it is.

    Parameters
    ----------
    connectome
        As for :func:`rewire_keeping_degrees`.
    lengths
        (target, source) in mm, the same regions in any order: tract lengths, or distances between centres, which are
        safer where tract lengths of absent connections are 0 or unknown. Finite, >= 0; symmetric if the connectome is.
    bins
        Number of length bins. Default 10; more keep lengths better and move fewer connections.
    strongest, swaps, seed
        As for :func:`rewire_keeping_degrees`.

    Returns
    -------
    DataArray like ``connectome``, with ``moved``.

    Raises
    ------
    InputError
        If an input is not possible.

    Warns
    -----
    UserWarning
        If fewer than a fifth of the connections could be moved.

    References
    ----------
    Betzel & Bassett (2018), PNAS 115:E4880; our swaps may pair connections of different bins.

    Examples
    --------
    >>> random = np.random.Generator(np.random.Philox(key=1))
    >>> x = random.uniform(size=(60, 3)) * 100
    >>> far = np.linalg.norm(x[:, None] - x, axis=2)
    >>> there = (random.uniform(size=far.shape) < np.exp(-far / 20)) * (far > 0) * 1.0
    >>> names = {"target": np.arange(60), "source": np.arange(60)}
    >>> near = xr.DataArray(there, names, ("target", "source"))
    >>> far = near.copy(data=far)
    >>> new = rewire_keeping_lengths(near, far, seed=1)
    >>> bool(abs((new * far).sum() / (near * far).sum() - 1) < 0.05), new.attrs["moved"] > 0.4
    (True, True)
    >>> other = rewire_keeping_degrees(near, seed=1)  # control: this one makes the wiring longer
    >>> bool((other * far).sum() / (near * far).sum() > 1.3)
    True
    """
    values = _checked(connectome)
    if set(lengths.dims) != {"target", "source"} or "target" not in lengths.coords or "source" not in lengths.coords:
        raise InputError(
            f"the lengths have dimensions {tuple(lengths.dims)}, expected (target, source) with region names on both; "
            "name them."
        )
    for dim in ("target", "source"):
        known = [str(name) for name in lengths[dim].values]
        for name in connectome[dim].values:
            if str(name) not in known:
                raise InputError(f"region '{name}' of the connectome has no lengths{nearest(str(name), known)}.")
    matched = lengths.sel(target=connectome["target"].values, source=connectome["target"].values)
    far = matched.transpose("target", "source").to_numpy().astype(np.float64)
    off = ~np.eye(len(far), dtype=bool)
    if not np.isfinite(far[off]).all() or (far[off] < 0).any():
        raise InputError("the lengths hold values below 0 or not finite, expected mm >= 0; use distances of centres.")
    if (values == values.T).all() and not np.allclose(far, far.T):
        raise InputError("the connectome is symmetric but the lengths are not, expected both; average both directions.")
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)) or bins < 1:
        raise InputError(f"bins is {bins!r}, expected a whole number from 1; 10 is usual.")
    used = far[_strong(values, strongest)]
    edges = np.unique(np.quantile(used, np.linspace(0, 1, bins + 1)[1:-1]))
    group = np.searchsorted(edges, (far + far.T) / 2 if (values == values.T).all() else far, side="right")
    return _rewired(connectome, values, group.astype(np.int64), strongest, swaps, seed, _LENGTHS)


def permute_weights(connectome: xr.DataArray, *, seed: int = 0) -> xr.DataArray:
    """Put all weights, the absent ones too, in random places: keeps density and weights, nothing else.

    A symmetric connectome stays symmetric. The diagonal stays 0.

    Parameters
    ----------
    connectome
        (target, source) with region names, >= 0, finite, diagonal 0; any units.
    seed
        Key of the random numbers; with the region names alone it decides the result.

    Returns
    -------
    DataArray like ``connectome``.

    Raises
    ------
    InputError
        If the connectome or the seed is not possible.

    Examples
    --------
    >>> names = {"target": list("ABC"), "source": list("ABC")}
    >>> c = xr.DataArray([[0, 1, 2], [3, 0, 4], [5, 6, 0]], names, ("target", "source"))
    >>> sorted(permute_weights(c, seed=1).values.ravel().tolist())
    [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """
    values = _checked(connectome)
    order = _by_name(connectome)
    sorted_values = values[np.ix_(order, order)]
    symmetric = bool((values == values.T).all())
    rows, columns = np.nonzero(np.tri(len(values), k=-1) if symmetric else ~np.eye(len(values), dtype=bool))
    new = np.zeros_like(values)
    new[rows, columns] = _generator(seed, _WEIGHTS).permutation(sorted_values[rows, columns])
    if symmetric:
        new += new.T
    return _like(connectome, new, order)


def permute_regions(connectome: xr.DataArray, *, seed: int = 0) -> xr.DataArray:
    """Give the regions each other's connections: the same graph, in the wrong places of the brain.

    Everything a graph without names has is kept (degrees, strengths, clusters, symmetry); which region it is is lost.

    Parameters
    ----------
    connectome, seed
        As for :func:`permute_weights`.

    Returns
    -------
    DataArray like ``connectome``.

    Raises
    ------
    InputError
        If the connectome or the seed is not possible.

    Examples
    --------
    >>> names = {"target": list("ABC"), "source": list("ABC")}
    >>> c = xr.DataArray([[0, 1, 2], [3, 0, 4], [5, 6, 0]], names, ("target", "source"))
    >>> sorted(permute_regions(c, seed=1).sum("source").values.tolist())
    [3.0, 7.0, 11.0]
    """
    values = _checked(connectome)
    order = _by_name(connectome)
    drawn = order[_generator(seed, _REGIONS).permutation(len(values))]
    return _like(connectome, values[np.ix_(drawn, drawn)], order)


# ---- the swaps -------------------------------------------------------------------------------------------------------


def _rewired(
    connectome: xr.DataArray, values: Float, group: Int, strongest: float, swaps: float, seed: int, purpose: int
) -> xr.DataArray:
    """Swap inside groups of places (target, source), in the order of the names."""
    strong = _strong(values, strongest)
    if not np.isfinite(swaps) or swaps < 0:
        raise InputError(f"swaps is {swaps!r}, expected a number per connection from 0; 10 is usual.")
    random = _generator(seed, purpose)
    order = _by_name(connectome)
    block = np.ix_(order, order)
    new, moved = _swap(values[block], strong[block], group[block], swaps, random)
    if swaps > 0 and moved < 0.2:
        warnings.warn(
            f"only {moved:.0%} of the connections could be moved: too few free places; take strongest= below 1 if the "
            "connectome is dense, fewer bins if lengths are kept, or more swaps.",
            UserWarning,
            stacklevel=3,
        )
    result = _like(connectome, new, order)
    result.attrs["moved"] = moved
    return result


def _swap(
    values: Float, strong: npt.NDArray[np.bool_], group: Int, swaps: float, random: np.random.Generator
) -> tuple[Float, float]:
    """Return the rewired weights and the share of connections in new places.

    A proposal is a pair of connections, a -> b and c -> d, drawn uniformly. Many are looked at together, but the
    first possible one is carried out before the next is judged, so the chain is the sequential one.
    """
    weights, used = values.copy(), strong.copy()
    symmetric = bool((values == values.T).all() and (strong == strong.T).all())
    target, source = np.nonzero(np.tril(strong) if symmetric else strong)
    count = len(target)
    half = max(round(swaps * count / 2), 1)
    # Stopping at a number of swaps would favour graphs with few ways out. So half of the swaps only measure how many
    # proposals they take, and the end comes after twice that number.
    done, swapped, limit = 0, 0, int(_PATIENCE * swaps * count) if count > 1 else 0
    while done < limit:
        pairs = random.integers(0, count, size=(_BLOCK, 2))
        turned = random.integers(0, 2, size=(_BLOCK, 2)).astype(bool) & symmetric
        at = 0
        while (stop := min(_BLOCK, limit - done)) > at:
            one, two = pairs[at:stop, 0], pairs[at:stop, 1]
            b = np.where(turned[at:stop, 0], source[one], target[one])
            a = np.where(turned[at:stop, 0], target[one], source[one])
            d = np.where(turned[at:stop, 1], source[two], target[two])
            c = np.where(turned[at:stop, 1], target[two], source[two])
            possible = (a != d) & (c != b) & (a != c) & (b != d) & ~used[b, c] & ~used[d, a]
            possible &= (group[b, a] == group[b, c]) & (group[d, c] == group[d, a])
            first = int(possible.argmax())
            if not possible[first]:
                break
            i, j, k, m = int(a[first]), int(b[first]), int(c[first]), int(d[first])
            for array in (weights, used):
                array[j, i], array[j, k] = array[j, k], array[j, i]
                array[m, k], array[m, i] = array[m, i], array[m, k]
                if symmetric:
                    array[i, j], array[k, j], array[k, m], array[i, m] = (
                        array[j, i],
                        array[j, k],
                        array[m, k],
                        array[m, i],
                    )
            # the connections now are c -> b and a -> d
            target[one[first]], source[one[first]] = j, k
            target[two[first]], source[two[first]] = m, i
            at += first + 1
            swapped += 1
            if swapped == half:
                limit = min(limit, 2 * (done + at))
        done += _BLOCK
    return weights, float((used & ~strong).sum() / max(strong.sum(), 1))


# ---- checks ----------------------------------------------------------------------------------------------------------


def _strong(values: Float, strongest: float) -> npt.NDArray[np.bool_]:
    """Mark the connections that count: the share ``strongest`` of those above 0, ties included."""
    if not 0 < strongest <= 1:
        raise InputError(f"strongest is {strongest!r}, expected a share above 0 to 1; 0.15 suits dense connectomes.")
    if not values.any():
        return values > 0
    return values >= np.quantile(values[values > 0], 1.0 - strongest) if strongest < 1 else values > 0


def _checked(connectome: xr.DataArray) -> Float:
    """Weights (target, source), both in the order of the targets."""
    if (
        not isinstance(connectome, xr.DataArray)
        or set(connectome.dims) != {"target", "source"}
        or not {"target", "source"} <= set(connectome.coords)
    ):
        found = tuple(connectome.dims) if isinstance(connectome, xr.DataArray) else type(connectome).__name__
        raise InputError(
            f"the connectome is {found}, expected an xarray.DataArray (target, source) with region names on both; such "
            "as person.connectome."
        )
    names = [str(name) for name in connectome["target"].values]
    if len(set(names)) < len(names) or sorted(names) != sorted(str(name) for name in connectome["source"].values):
        raise InputError("the connectome's targets and sources differ or repeat, expected the same regions on both.")
    ordered = connectome.sel(source=connectome["target"].values).transpose("target", "source")
    values = ordered.to_numpy().astype(np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or np.diag(values).any():
        raise InputError(
            "the connectome holds values below 0, not finite, or on its diagonal, expected weights >= 0 between "
            "regions; mend or remove them."
        )
    return values


def _by_name(connectome: xr.DataArray) -> Int:
    return np.argsort(np.array([str(name) for name in connectome["target"].values]))


def _like(connectome: xr.DataArray, values: Float, order: Int) -> xr.DataArray:
    """Put values in the order of the names back in the order of ``connectome``."""
    back = np.argsort(order)
    names = connectome["target"].values
    new = xr.DataArray(values[np.ix_(back, back)], dims=("target", "source"), coords={"target": names, "source": names})
    result = connectome.copy(data=new.sel(source=connectome["source"].values).transpose(*connectome.dims).to_numpy())
    result.attrs = dict(connectome.attrs)
    return result


def _generator(seed: int, purpose: int) -> np.random.Generator:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r}, expected a whole number from 0 to 2**64 - 1; give for example seed=0.")
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64)))
