"""Functional connectivity: correlations between regions, and how far such matrices are apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse._measures import count, row, table, table_dict
from twinbrain.analyse._numeric import Floats, correlation_matrix, generator, is_constant, standardise
from twinbrain.errors import InputError

__all__ = [
    "BetweenSubjects",
    "between_subject_ceiling",
    "compare_connectivity",
    "compare_edges",
    "compare_nodes",
    "functional_connectivity",
    "partial_connectivity",
]

_SHUFFLES = 31  # second half of the random key


def functional_connectivity(series: xr.DataArray) -> xr.DataArray:
    """Pearson correlation between the series of every two regions.

    Parameters
    ----------
    series
        (time, region), any units; at least 3 volumes.

    Returns
    -------
    DataArray (region, partner), both with the region names, ``units`` "1", diagonal 1. Rows and columns of
    regions that do not vary are NaN, with a warning that names them.

    Raises
    ------
    InputError
        If the dimensions are not (time, region), there are fewer than 3 volumes, or values are not finite.

    Examples
    --------
    >>> t = np.arange(100.0)
    >>> x = np.stack([np.sin(t), -np.sin(t)], axis=1)
    >>> x = xr.DataArray(x, dims=("time", "region"), coords={"region": ["A", "B"]})
    >>> round(float(functional_connectivity(x).sel(region="A", partner="B")), 6)
    -1.0
    """
    if set(series.dims) != {"time", "region"} or series.sizes["time"] < 3:
        raise InputError(
            f"functional connectivity was asked of an array {dict(series.sizes)}, expected (time, region) "
            "with at least 3 volumes; name the dimensions so."
        )
    values = np.asarray(series.transpose("time", "region"), dtype=np.float64)
    names = series["region"].to_numpy()
    bad = names[~np.isfinite(values).all(axis=0)]
    if len(bad):
        raise InputError(
            f"region '{bad[0]}' has values that are not finite, expected numbers; interpolate or leave it out."
        )
    matrix = correlation_matrix(values)
    flat = is_constant(values)
    if flat.any():
        warnings.warn(f"no correlation is defined for constant regions: {', '.join(names[flat])}", stacklevel=2)
        matrix[flat, :] = np.nan
        matrix[:, flat] = np.nan
    return as_matrix(matrix, names)


def partial_connectivity(series: xr.DataArray, *, shrinkage: float | None = None) -> xr.DataArray:
    """Partial correlation between every two regions: what they share beyond all the others.

    ``p_jk = -K_jk / sqrt(K_jj K_kk)`` with K the inverse of the shrunk correlation matrix ``(1 - s) C + s 1``. The
    shrinkage s of Ledoit & Wolf minimises the expected squared error of the matrix for independent volumes; BOLD
    volumes are not independent, so the value it gives is a lower bound for BOLD.

    Parameters
    ----------
    series
        (time, region), any units; at least 3 volumes.
    shrinkage
        0 to 1; 0 is allowed with more volumes than regions only. Default: that of Ledoit & Wolf.

    Returns
    -------
    DataArray (region, partner), ``units`` "1", diagonal 1; the shrinkage used in ``attrs["shrinkage"]``. Rows and
    columns of regions that do not vary are NaN, with a warning that names them; the others are computed without them.

    Raises
    ------
    InputError
        If the dimensions are not (time, region), values are not finite, there are fewer than 3 volumes, or the
        matrix cannot be inverted.

    References
    ----------
    Ledoit & Wolf (2004), J. Multivariate Analysis 88:365; Marrelec et al. (2006), NeuroImage 32:228.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(2000, 3))
    >>> x[:, 1] += x[:, 0]
    >>> x[:, 2] += x[:, 1]  # A drives B drives C: A and C share nothing beyond B
    >>> x = xr.DataArray(x, dims=("time", "region"), coords={"region": list("ABC")})
    >>> p = partial_connectivity(x)
    >>> bool(abs(p.sel(region="A", partner="C")) < 0.05 < 0.4 < p.sel(region="A", partner="B"))
    True
    """
    if set(series.dims) != {"time", "region"} or series.sizes["time"] < 3 or not series.sizes["region"]:
        raise InputError(
            f"partial connectivity was asked of an array {dict(series.sizes)}, expected (time, region) with at least "
            "3 volumes; name the dimensions so."
        )
    values = np.asarray(series.transpose("time", "region"), dtype=np.float64)
    names = series["region"].to_numpy()
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        raise InputError(f"region '{names[bad][0]}' has values that are not finite; interpolate or leave it out.")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage is {shrinkage}, expected 0 to 1; leave it out for that of Ledoit and Wolf.")
    flat = is_constant(values)
    if flat.any():
        warnings.warn(f"no correlation is defined for constant regions: {', '.join(names[flat])}", stacklevel=2)
    z = standardise(values[:, ~flat])
    used = _ledoit_wolf(z) if shrinkage is None else float(shrinkage)
    shrunk = (1 - used) * correlation_matrix(z) + used * np.eye(z.shape[1])
    if z.shape[1] and np.linalg.cond(shrunk) > 1e12:
        raise InputError(
            f"the correlation matrix of {z.shape[1]} regions from {len(z)} volumes cannot be inverted with shrinkage "
            f"{used:g}; leave shrinkage out or give a larger one."
        )
    inverse = np.linalg.inv(shrunk)
    scale = np.sqrt(np.diag(inverse))
    matrix = np.full((len(names), len(names)), np.nan)
    partial = np.clip(-inverse / scale[:, None] / scale, -1.0, 1.0)
    np.fill_diagonal(partial, 1.0)
    matrix[np.ix_(~flat, ~flat)] = (partial + partial.T) / 2
    labelled = as_matrix(matrix, names)
    labelled.attrs |= {"long_name": "functional connectivity (partial correlation)", "shrinkage": used}
    return labelled


def _ledoit_wolf(z: Floats) -> float:
    """Shrinkage of the correlation matrix of standard scores (time, region) towards the unit matrix."""
    n, p = z.shape
    if p < 2:
        return 0.0
    c = z.T @ z / n
    distance = float(((c - np.eye(p)) ** 2).sum())
    # sum over volumes of |x x' - C|^2, without forming any x x'
    noise = float((((z**2).sum(axis=1)) ** 2).sum() - n * (c**2).sum()) / n**2
    return min(noise, distance) / distance if distance > 0 else 0.0


def as_matrix(matrix: Floats, names: Sequence[str] | np.ndarray) -> xr.DataArray:
    """Label a matrix of correlations with its regions."""
    return xr.DataArray(
        matrix,
        dims=("region", "partner"),
        coords={"region": np.asarray(names), "partner": np.asarray(names)},
        attrs={"units": "1", "long_name": "functional connectivity (Pearson)"},
    )


def compare_connectivity(simulated: xr.DataArray, recorded: xr.DataArray) -> dict[str, float]:
    """Measure how alike two functional connectivities are; regions are matched by name.

    Returns
    -------
    dict
        ``fc_pcc`` Pearson correlation of the upper triangles (diagonal excluded; NaN with fewer than three
        pairs or if one triangle does not vary); ``fc_rms`` root mean square of the differences in the upper
        triangle; ``fc_fnorm_per_n`` = ``||S - R||_F / n`` and ``fc_fnorm_relative`` = ``||S - R||_F /
        ||R||_F`` of the full matrices with n regions, two readings of the "F-norm distance" of the
        literature; ``fc_mean`` mean of the upper triangle of ``simulated``. All without units.

    Raises
    ------
    InputError
        If the matrices are not of the same regions.

    Examples
    --------
    >>> fc = as_matrix(np.array([[1.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.0]]), ["A", "B", "C"])
    >>> compare_connectivity(fc, fc)["fc_rms"]
    0.0
    """
    _, s, r = _matched(simulated, recorded)
    return matrix_distances(s, r)


def _matched(simulated: xr.DataArray, recorded: xr.DataArray) -> tuple[list[str], Floats, Floats]:
    """Two matrices with the regions of the first, in its order."""
    names, others = list(simulated["region"].values), list(recorded["region"].values)
    if set(names) != set(others):
        odd = sorted(set(names) ^ set(others))
        raise InputError(
            f"region '{odd[0]}' is in only one of the two matrices, expected the same regions; select them."
        )
    matrices = [m.sel(region=names, partner=names).transpose("region", "partner") for m in (simulated, recorded)]
    first, second = (np.asarray(m, dtype=np.float64) for m in matrices)
    return [str(name) for name in names], first, second


def compare_edges(simulated: xr.DataArray, recorded: xr.DataArray) -> pd.DataFrame:
    """List both functional connectivities connection by connection; regions are matched by name.

    Parameters
    ----------
    simulated, recorded
        (region, partner), see `functional_connectivity` and `partial_connectivity`.

    Returns
    -------
    Table with index (``region``, ``partner``), every pair once; columns ``simulated``, ``recorded`` and
    ``difference`` (simulated less recorded), no units.

    Raises
    ------
    InputError
        If the matrices are not of the same regions.

    Examples
    --------
    >>> fc = as_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]), ["A", "B"])
    >>> compare_edges(fc, 0.8 * fc).round(3).reset_index().values.tolist()
    [['A', 'B', 0.5, 0.4, 0.1]]
    """
    names, s, r = _matched(simulated, recorded)
    i, j = np.triu_indices(len(names), 1)
    labels = np.asarray(names, dtype=object)
    index = pd.MultiIndex.from_arrays([labels[i], labels[j]], names=["region", "partner"])
    return pd.DataFrame({"simulated": s[i, j], "recorded": r[i, j], "difference": s[i, j] - r[i, j]}, index=index)


def compare_nodes(simulated: xr.DataArray, recorded: xr.DataArray) -> pd.DataFrame:
    """Compare two functional connectivities region by region; regions are matched by name.

    Parameters
    ----------
    simulated, recorded
        (region, partner).

    Returns
    -------
    Table with index ``region``; columns ``profile_pcc``, Pearson correlation of the region's connections with all
    others (NaN with fewer than three of them or if one profile does not vary); ``profile_rms``, root mean square of
    their differences; ``strength_simulated`` and ``strength_recorded``, mean connection; no units.

    Raises
    ------
    InputError
        If the matrices are not of the same regions, or of a single one.

    Examples
    --------
    >>> fc = as_matrix(np.array([[1.0, 0.5, 0.3], [0.5, 1.0, 0.1], [0.3, 0.1, 1.0]]), ["A", "B", "C"])
    >>> compare_nodes(fc, fc).strength_recorded.round(9).tolist()
    [0.4, 0.3, 0.2]
    """
    names, s, r = _matched(simulated, recorded)
    n = len(names)
    if n < 2:
        raise InputError("connections were asked of a single region, expected at least 2; give more regions.")
    off = ~np.eye(n, dtype=bool)
    a, b = s[off].reshape(n, n - 1), r[off].reshape(n, n - 1)
    ca, cb = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    spread = np.sqrt((ca**2).sum(axis=1) * (cb**2).sum(axis=1))
    defined = (n >= 4) & (np.minimum(ca.std(axis=1), cb.std(axis=1)) > 1e-9)
    pcc = np.divide((ca * cb).sum(axis=1), spread, out=np.full(n, np.nan), where=defined)
    columns = {
        "profile_pcc": np.clip(pcc, -1.0, 1.0),
        "profile_rms": np.sqrt(((a - b) ** 2).mean(axis=1)),
        "strength_simulated": a.mean(axis=1),
        "strength_recorded": b.mean(axis=1),
    }
    return pd.DataFrame(columns, index=pd.Index(names, name="region"))


@dataclass(frozen=True, eq=False)
class BetweenSubjects:
    """Result of `between_subject_ceiling`.

    Attributes
    ----------
    table
        Index ``measure``; columns ``value``, ``low``, ``high``, ``null_mean``, ``null_sd``, ``p_value``, ``note``.
    pairs
        FC-PCC of every two persons, (person, other), diagonal 1.
    to_others
        FC-PCC of each person with the mean of the others, (person,).

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(3, 90, 5)) @ np.triu(np.ones((5, 5)))
    >>> names = {"region": list("ABCDE")}
    >>> people = {n: xr.DataArray(v, dims=("time", "region"), coords=names) for n, v in zip("xyz", x)}
    >>> between_subject_ceiling(people, nulls=10).to_others.person.values.tolist()
    ['x', 'y', 'z']
    """

    table: pd.DataFrame
    pairs: xr.DataArray
    to_others: xr.DataArray

    def to_dict(self) -> dict[str, object]:
        """Figures ready for JSON; what is not defined is None."""
        persons = [str(name) for name in self.to_others["person"].values]
        to_others = dict(zip(persons, (float(v) for v in self.to_others.values), strict=True))
        return {"persons": persons, "to_others": to_others, "measures": table_dict(self.table)}


def between_subject_ceiling(
    recordings: Mapping[str, xr.DataArray], *, partial: bool = False, nulls: int = 100, seed: int = 0
) -> BetweenSubjects:
    """Measure how alike the functional connectivities of several persons are.

    A model of one person that comes no nearer to that person than other people do has caught what brains share, not
    what is that person's own. Measures, all Pearson correlations of upper triangles: ``fc_pcc_pairs``, mean over
    every two persons; ``fc_pcc_to_others``, mean over persons of each one's correlation with the mean of the others
    (Fisher's z is averaged), the lower bound of the noise ceiling; ``fc_pcc_to_all``, the same with the person in
    the mean, its upper bound.

    Parameters
    ----------
    recordings
        Person to (time, region), any units, lengths may differ; at least 3 persons. Only regions common to all are
        used, at least 3, matched by name.
    partial
        Whether to use `partial_connectivity` (with its own shrinkage per person). Default False.
    nulls
        Shuffles of the region labels of each person, 0 for none. Default 100.
    seed
        Key of the random numbers.

    Returns
    -------
    BetweenSubjects
        Intervals by a jackknife over persons; p-values two-sided, by rank among the shuffles.

    Raises
    ------
    InputError
        If there are fewer than 3 persons or common regions, or a common region is constant or not finite.

    References
    ----------
    Nili et al. (2014), PLoS Comput. Biol. 10:e1003553 (noise ceiling).

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> mixing = rng.normal(size=(8, 8))
    >>> names = {"region": list("ABCDEFGH")}
    >>> draw = lambda: xr.DataArray(rng.normal(size=(300, 8)) @ mixing, dims=("time", "region"), coords=names)
    >>> found = between_subject_ceiling({name: draw() for name in ("a", "b", "c", "d")}, nulls=19).table
    >>> bool(found.value["fc_pcc_pairs"] > 0.9), bool(found.null_mean["fc_pcc_pairs"] < 0.3)
    (True, True)
    """
    nulls = count(nulls, "nulls", least=0)
    random = generator(seed, _SHUFFLES)
    persons = [str(name) for name in recordings]
    arrays = list(recordings.values())
    for person, array in zip(persons, arrays, strict=True):
        if "region" not in array.coords:
            raise InputError(f"the recording of '{person}' has no region names, expected (time, region); label it.")
    common = [n for n in arrays[0]["region"].values if all(n in a["region"].values for a in arrays)] if arrays else []
    if len(persons) < 3 or len(common) < 3:
        raise InputError(
            f"a ceiling was asked of {len(persons)} persons with {len(common)} regions in common, expected at least 3 "
            "of both; give more recordings of one atlas."
        )
    matrices = []
    for person, array in zip(persons, arrays, strict=True):
        values = array.sel(region=common)
        if values.sizes.get("time", 0) < 3:
            raise InputError(
                f"the recording of '{person}' is too short, expected at least 3 volumes; give a longer one."
            )
        flat = is_constant(np.asarray(values.transpose("time", "region"), dtype=np.float64))
        if flat.any() or not np.isfinite(values).all():
            raise InputError(
                f"the recording of '{person}' is constant or not finite in one of the {len(common)} common regions"
                f"{f', first {np.asarray(common)[flat][0]!s}' if flat.any() else ''}; leave such regions out."
            )
        matrices.append((partial_connectivity if partial else functional_connectivity)(values).to_numpy())
    upper = np.triu_indices(len(common), 1)
    edges = np.array([matrix[upper] for matrix in matrices])
    pairs, to_others, figures = _ceilings(edges)
    left = [_ceilings(np.delete(edges, k, axis=0))[2] for k in range(len(persons))] if len(persons) > 3 else []
    drawn = []
    for _ in range(nulls):
        orders = [random.permutation(len(common)) for _ in persons]
        shuffled = [matrix[np.ix_(order, order)][upper] for matrix, order in zip(matrices, orders, strict=True)]
        drawn.append(_ceilings(np.array(shuffled))[2])
    notes = {
        "fc_pcc_pairs": f"mean over pairs of {len(persons)} persons",
        "fc_pcc_to_others": "mean over persons, with the mean of the others: lower bound of the ceiling",
        "fc_pcc_to_all": "mean over persons, with the mean of all: upper bound of the ceiling",
    }
    suffix = "; null: region labels shuffled; p two-sided" if nulls else ""
    rows = {
        name: row(
            value,
            f"{notes[name]}, {len(common)} regions{suffix}",
            null=np.array([one[name] for one in drawn]),
            half=_jackknife_half(np.array([one[name] for one in left])),
        )
        for name, value in figures.items()
    }
    attrs = {"units": "1", "long_name": "FC-PCC"}
    return BetweenSubjects(
        table=table(rows),
        pairs=xr.DataArray(pairs, dims=("person", "other"), coords={"person": persons, "other": persons}, attrs=attrs),
        to_others=xr.DataArray(to_others, dims=("person",), coords={"person": persons}, attrs=attrs),
    )


def _ceilings(edges: Floats) -> tuple[Floats, Floats, dict[str, float]]:
    """FC-PCC of all pairs, of each person with the others, and their means, from edges (person, edge)."""
    n = len(edges)
    pairs = np.clip(np.corrcoef(edges), -1.0, 1.0)
    z = np.arctanh(np.clip(edges, -1 + 1e-12, 1 - 1e-12))
    total = z.sum(axis=0)
    to_others = np.array(
        [np.corrcoef(e, np.tanh((total - own) / (n - 1)))[0, 1] for e, own in zip(edges, z, strict=True)]
    )
    to_all = [np.corrcoef(e, np.tanh(total / n))[0, 1] for e in edges]
    figures = {
        "fc_pcc_pairs": float(pairs[np.triu_indices(n, 1)].mean()),
        "fc_pcc_to_others": float(to_others.mean()),
        "fc_pcc_to_all": float(np.mean(to_all)),
    }
    return pairs, to_others, figures


def _jackknife_half(left: Floats) -> float:
    """Half-width of the 95 % interval from the values with one person left out; NaN without them."""
    from scipy.stats import t  # slow to import

    if not len(left):
        return float("nan")
    return float(t.ppf(0.975, len(left) - 1) * np.sqrt((len(left) - 1) * np.var(left)))


def matrix_distances(simulated: Floats, recorded: Floats) -> dict[str, float]:
    """``compare_connectivity`` on bare matrices of the same regions in the same order."""
    n = len(recorded)
    upper = np.triu_indices(n, 1)
    s, r = simulated[upper], recorded[upper]
    distance = float(np.linalg.norm(simulated - recorded))
    enough = len(s) >= 3 and min(np.std(s), np.std(r)) > 1e-9
    return {
        "fc_pcc": float(np.clip(np.corrcoef(s, r)[0, 1], -1.0, 1.0)) if enough else float("nan"),
        "fc_rms": float(np.sqrt(np.mean((s - r) ** 2))) if len(s) else float("nan"),
        "fc_fnorm_per_n": distance / n if n else float("nan"),
        "fc_fnorm_relative": distance / float(np.linalg.norm(recorded)) if n else float("nan"),
        "fc_mean": float(np.mean(s)) if len(s) else float("nan"),
    }
