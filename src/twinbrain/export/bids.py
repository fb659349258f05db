"""Results as BIDS derivatives: series, relation matrices, sidecars, and where they come from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.errors import InputError
from twinbrain.store.origin import twinbrain_version

__all__ = ["bids_label", "write_bids", "write_relmat", "write_timeseries"]

Float = npt.NDArray[np.float64]

_BIDS = "1.9.0"


def bids_label(text: str) -> str:
    """Return a text as a BIDS label: that of ``sub-LABEL``, else its letters and digits.

    Raises
    ------
    InputError
        If no letter or digit is left.

    Examples
    --------
    >>> bids_label("sub-01_ses-2"), bids_label("Mary's brain")
    ('01', 'Marysbrain')
    """
    named = re.match(r"sub-([A-Za-z0-9]+)", text)
    label = named[1] if named else re.sub(r"[^A-Za-z0-9]", "", text.removeprefix("sub-"))
    if not label:
        raise InputError(f"'{text}' holds no letter or digit, so no BIDS label can be made of it; rename it")
    return label


def write_timeseries(
    path: str | os.PathLike[str], values: npt.ArrayLike, names: Sequence[str], *, sidecar: Mapping[str, Any]
) -> Path:
    """Write ``..._timeseries.tsv`` (a column per region, a row per volume) and its json.

    Numbers read back to the same bits; NaN is written ``n/a``.

    Parameters
    ----------
    path
        Ends with ``_timeseries.tsv``.
    values
        ``(time, region)``.
    names
        Names of the columns.
    sidecar
        Content of the json; ``RepetitionTime`` (s) and ``Units`` should be there.

    Raises
    ------
    InputError
        If the values do not fit the names, or a name holds a tab or line break.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sub-01_desc-twin_timeseries.tsv"
    >>> write_timeseries(path, [[0.1, float("nan")]], ["a", "b"], sidecar={"RepetitionTime": 0.8}).read_text()
    'a\\tb\\n0.1\\tn/a\\n'
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise InputError(f"{path}: values of shape {array.shape} do not fit {len(names)} columns")
    return _with_sidecar(Path(path), names, array.tolist(), sidecar)


def write_relmat(
    path: str | os.PathLike[str], values: npt.ArrayLike, names: Sequence[str], *, sidecar: Mapping[str, Any]
) -> Path:
    """Write ``..._relmat.dense.tsv``: first row and first column (``Node``) hold the names; row = target.

    Parameters
    ----------
    path
        Ends with ``_relmat.dense.tsv``.
    values
        ``(R, R)``.
    names
        Names of the regions.
    sidecar
        Content of the json; what it needs of directedness and storage is added.

    Raises
    ------
    InputError
        If the matrix does not fit the names.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sub-01_meas-count_relmat.dense.tsv"
    >>> write_relmat(path, [[0, 1], [2, 0]], ["a", "b"], sidecar={}).read_text().splitlines()
    ['Node\\ta\\tb', 'a\\t0.0\\t1.0', 'b\\t2.0\\t0.0']
    """
    array = np.asarray(values, np.float64)
    if array.shape != (len(names), len(names)):
        raise InputError(f"{path}: a matrix of shape {array.shape} does not fit {len(names)} regions")
    about = {
        "Directed": not np.array_equal(array, array.T, equal_nan=True),
        "Weighted": True,
        "ValidDiagonal": bool(np.diag(array).any()),
        "NonNegative": bool((np.nan_to_num(array) >= 0).all()),
        "StorageFormat": "dense; row = target, column = source; names in the first row and column",
        **sidecar,
    }
    rows = ([name, *row] for name, row in zip(names, array.tolist(), strict=True))
    return _with_sidecar(Path(path), ["Node", *names], rows, about)


def _with_sidecar(
    path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]], sidecar: Mapping[str, Any]
) -> Path:
    for name in heads:
        if re.search(r"[\t\r\n]", name) or not name:
            raise InputError(f"{path}: {name!r} cannot head a column of a tab-separated table; rename the region")
    lines = ["\t".join(heads), *("\t".join(_cell(x) for x in row) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    _json(path.with_name(path.name.removesuffix(".tsv").removesuffix(".dense") + ".json"), sidecar)
    return path


def _cell(value: object) -> str:
    if isinstance(value, float):
        return repr(value) if np.isfinite(value) else "n/a"
    return str(value)


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_bids(
    groups: Mapping[str, xr.Dataset],
    folder: str | os.PathLike[str],
    *,
    person: str,
    run: str = "rest",
    atlas: str = "regions",
    scores: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write what a study found as a BIDS derivative dataset.

    Parameters
    ----------
    groups
        Groups of a results folder: ``recorded``, ``fit``, ``twin``, ``brain``; those that are missing are left out.
    folder
        An existing, empty folder.
    person, run, atlas
        Become the labels ``sub-``, ``task-`` and ``seg-``.
    scores
        Written as ``sub-X_desc-scores.json``.

    Returns
    -------
    list of pathlib.Path
        Series and matrices.

    Notes
    -----
    ``desc-recorded``, ``desc-twin`` and ``desc-estimate`` tell recorded series, the twin's and the estimated drive
    apart. The matrices follow the spirit of BIDS extension proposal 17, which is not settled.
    """
    folder = Path(folder)
    sub, task, seg = f"sub-{bids_label(person)}", bids_label(run), bids_label(atlas)
    _json(
        folder / "dataset_description.json",
        {
            "Name": "twinbrain results",
            "BIDSVersion": _BIDS,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "twinbrain", "Version": twinbrain_version()}],
        },
    )
    (folder / ".bidsignore").write_text("*_relmat*\nchecksums.sha256\n", encoding="utf-8")
    (folder / "participants.tsv").write_text(f"participant_id\n{sub}\n", encoding="utf-8")
    stem = folder / sub / "func" / f"{sub}_task-{task}_seg-{seg}"
    seconds = _repetition_time(groups)
    written: list[Path] = []

    def series(array: xr.DataArray, desc: str, meaning: str) -> None:
        array = array.transpose("time", ...)
        names = [str(n) for n in array[array.dims[1]].values]
        start = float(array["time"].values[0]) if "time" in array.coords else 0.0
        about = {
            "RepetitionTime": seconds,
            "StartTime": start,
            "Units": str(array.attrs.get("units", "arbitrary")),
            "Description": meaning,
        }
        path = stem.with_name(f"{stem.name}_desc-{desc}_stat-mean_timeseries.tsv")
        written.append(write_timeseries(path, array.values, names, sidecar=about))

    def correlations(array: xr.DataArray, desc: str) -> None:
        array = array.transpose("time", "region")
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.atleast_2d(np.corrcoef(array.values[np.isfinite(array.values).all(axis=1)].T))
        path = stem.with_name(f"{stem.name}_desc-{desc}_meas-pearsoncorrelation_relmat.dense.tsv")
        about = {"RelationshipMeasure": "Pearson correlation", "Units": "1"}
        written.append(write_relmat(path, r, [str(n) for n in array["region"].values], sidecar=about))

    if "recorded" in groups:
        series(groups["recorded"]["bold"], "recorded", "recorded BOLD as it was given")
        correlations(groups["recorded"]["bold"], "recorded")
    if "twin" in groups:
        twin = groups["twin"]
        series(twin["bold"], "twin", "BOLD of the free run of the twin, fraction of the resting signal")
        correlations(twin["bold"], "twin")
        series(regional_rate(twin), "rate", "mean firing rate of the twin's neurons in each region")
    if "fit" in groups:
        series(groups["fit"]["drive"], "estimate", "estimated current into the excitatory neurons of each input region")
        series(groups["fit"]["spread"], "estimatesd", "posterior standard deviation of the estimated current")
    if "brain" in groups:
        brain = groups["brain"]
        path = folder / sub / "dwi" / f"{sub}_seg-{seg}_desc-model_relmat.dense.tsv"
        about = {"RelationshipMeasure": "connection strength", "Units": str(brain.connectome.attrs.get("units", ""))}
        names = [str(n) for n in brain["target"].values]
        written.append(write_relmat(path, brain["connectome"].values, names, sidecar=about))
    if scores:
        _json(folder / sub / f"{sub}_desc-scores.json", dict(scores))
    return written


def _repetition_time(groups: Mapping[str, xr.Dataset]) -> float | None:
    for group in groups.values():
        for key in ("repetition_time_s",):
            if key in group.attrs:
                return float(group.attrs[key])
            for array in group.data_vars.values():
                if key in array.attrs:
                    return float(array.attrs[key])
    return None


def regional_rate(twin: xr.Dataset) -> xr.DataArray:
    """Return the mean rate over the neurons of each region, (time, region), Hz.

    Examples
    --------
    >>> coords = {"pop_region": ("population", ["a", "a"]), "pop_size": ("population", [3, 1]), "region": ["a"]}
    >>> twin = xr.Dataset({"firing_rate": (("time", "population"), [[4.0, 8.0]])}, coords)
    >>> regional_rate(twin).values.tolist()
    [[5.0]]
    """
    rate, size = twin["firing_rate"].transpose("time", "population"), twin["pop_size"].values.astype(np.float64)
    owner = twin["pop_region"].values.astype(str)
    names = [str(n) for n in twin["region"].values]
    columns = []
    for name in names:
        which = np.flatnonzero(owner == name)
        columns.append(rate.values[:, which] @ size[which] / max(size[which].sum(), 1.0))
    coords = {"region": names} | ({"time": rate["time"].values} if "time" in rate.coords else {})
    return xr.DataArray(np.stack(columns, axis=1), dims=("time", "region"), coords=coords, attrs={"units": "Hz"})
