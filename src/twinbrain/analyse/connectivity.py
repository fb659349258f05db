"""Functional connectivity: correlations between regions, and how far two such matrices are apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinbrain.analyse._numeric import Floats, correlation_matrix, is_constant
from twinbrain.errors import InputError

__all__ = ["compare_connectivity", "functional_connectivity"]


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
        If the dimensions are not (time, region) or there are fewer than 3 volumes.

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
    matrix = correlation_matrix(values)
    flat = is_constant(values)
    if flat.any():
        warnings.warn(f"no correlation is defined for constant regions: {', '.join(names[flat])}", stacklevel=2)
        matrix[flat, :] = np.nan
        matrix[:, flat] = np.nan
    return as_matrix(matrix, names)


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
    names, others = list(simulated["region"].values), list(recorded["region"].values)
    if set(names) != set(others):
        odd = sorted(set(names) ^ set(others))
        raise InputError(
            f"region '{odd[0]}' is in only one of the two matrices, expected the same regions; select them."
        )
    other = recorded.sel(region=names, partner=names).to_numpy()
    return matrix_distances(simulated.to_numpy(), other)


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
