"""A person from single files: a connectome, series, TVB's archive; what is missing is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from twinbrain.data.bids_names import parse_name
from twinbrain.data.cifti import is_cifti
from twinbrain.data.connectome_files import read_connectome, sha256
from twinbrain.data.pet import PET_UNITS, read_pet_table
from twinbrain.data.preparation import Preparation, prepare_run
from twinbrain.data.safety import file_size
from twinbrain.data.series_files import read_series_file
from twinbrain.data.subject import Subject, is_laminar
from twinbrain.data.tables import LabelTable, read_labels
from twinbrain.data.tvb import as_arrays, is_tvb, read_tvb
from twinbrain.errors import InputError, nearest

__all__ = ["LOOSE_OPTIONS", "read_loose"]

#: Options of :func:`twinbrain.read_subject` that apply to single files.
LOOSE_OPTIONS = (
    "bold",
    "connectome",
    "connectome_rows",
    "connectome_units",
    "labels",
    "lengths",
    "pet",
    "pet_units",
    "preparation",
    "repetition_time_s",
    "weighting",
)

_SERIES_NAMES = ("timeseries", "bold", "ptseries", "dtseries")


def read_loose(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    connectome: str | Path | None = None,
    lengths: str | Path | None = None,
    weighting: str | None = None,
    connectome_rows: str | None = None,
    connectome_units: str = "arbitrary",
    bold: Mapping[str, str | Path] | None = None,
    repetition_time_s: float | None = None,
    pet: str | Path | None = None,
    pet_units: str | None = None,
    preparation: Preparation | None = None,
) -> Subject:
    """Read a person from single files; parameters as :func:`twinbrain.read_subject`.

    Series carry no names of their own in some formats; regions are matched by name, and those that only the
    connectome or only the series know are refused.

    Raises
    ------
    InputError
        With the file, what was found, what was expected and how to mend it.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "sc.csv"
    >>> _ = place.write_text(",a,b\\na,0,3\\nb,3,0\\n")
    >>> read_loose(place)
    Subject 'sc': 2 regions (2 laminar), connectome density 1.00, no BOLD
    """
    path = Path(path)
    file_size(path)
    if path.name.lower().endswith((".nii.gz", ".trk", ".tck", ".trx", ".mgz", ".gii")) or (
        path.suffix == ".nii" and not is_cifti(path)
    ):
        raise InputError(
            f"{path}: an image or a tractogram alone is not a person; give a BIDS folder, or a connectome with bold= "
            "(see 'Bring your own data' in the documentation)."
        )
    _check_same_person([path, connectome, lengths, pet, *(bold or {}).values()])
    table = None if labels is None or str(labels).endswith(".dlabel.nii") else read_labels(labels)
    dlabel = labels if labels is not None and str(labels).endswith(".dlabel.nii") else None
    notes: dict[str, str] = {path.name: sha256(path)}
    runs = dict(bold or {})
    matrix_file: Path | None = path
    if _is_series(path):
        runs = {_run_name(path): path, **runs}
        matrix_file = None if connectome is None else Path(connectome)
        if matrix_file is None:
            raise InputError(f"{path}: these are series; give connectome= as well, a file with one row per region.")
    elif connectome is not None:
        raise InputError(f"{path}: this is read as the connectome, and connectome= names another; give one of the two.")
    given: dict[str, Any]
    if matrix_file is not None and matrix_file.suffix.lower() == ".zip":
        if not is_tvb(matrix_file):
            raise InputError(f"{matrix_file}: there are no weights and centres in it; give TVB's connectivity.zip.")
        found = read_tvb(matrix_file)
        given = as_arrays(found)
        names = list(found.names)
        if found.cortical is not None:
            given["laminar"] = [bool(c) and is_laminar(n) for n, c in zip(names, found.cortical, strict=True)]
    else:
        read = read_connectome(
            matrix_file or path,
            None if table is None else table.regions,
            weighting=weighting,
            rows=connectome_rows,
        )
        names = [str(n) for n in read.matrix["target"].values]
        given = {"connectome": read.matrix, "regions": names}
        notes |= {f"connectome note {k}": note for k, note in enumerate(read.notes, start=1)}
    if matrix_file is not None:
        notes[matrix_file.name] = sha256(matrix_file)
    if table is not None and table.laminar:
        given["laminar"] = _of_table(table, names, Path(str(labels)))
    if lengths is not None:
        read = read_connectome(lengths, names, rows=connectome_rows, what="the tract lengths")
        given["lengths"] = read.matrix
        notes[Path(lengths).name] = sha256(Path(lengths))
    if pet is not None:
        given["synaptic_density"] = _pet(Path(pet), pet_units, tuple(names), notes)
    how = preparation or Preparation(percent_signal_change=False)
    series: dict[str, xr.DataArray] = {}
    for run, file in runs.items():
        made = read_series_file(file, names, repetition_time_s=repetition_time_s, dlabel=dlabel)
        made, steps = prepare_run(made, how, None, str(file))
        series[run] = _matched(made, names, Path(file))
        notes[Path(file).name] = sha256(Path(file))
        notes |= {f"bold {run} step {k}": step for k, step in enumerate(steps, start=1)}
    stem = path.name.split(".")[0]
    try:
        return Subject.from_arrays(**given, bold=series, name=stem, provenance=notes, connectome_units=connectome_units)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_same_person(files: list[str | Path | None]) -> None:
    """Files whose names say of whom they are must all be of one person."""
    whose: dict[str, Path] = {}
    for file in files:
        parsed = None if file is None else parse_name(Path(file).name)
        if parsed is not None and "sub" in parsed[0]:
            whose.setdefault(parsed[0]["sub"], Path(str(file)))
    if len(whose) > 1:
        (one, first), (other, second) = list(whose.items())[:2]
        raise InputError(
            f"{second}: this file is of participant '{other}', but {first.name} is of '{one}'; give files of one "
            "person."
        )


def _is_series(path: Path) -> bool:
    name = path.name.lower()
    return is_cifti(path) or any(word in name for word in _SERIES_NAMES)


def _run_name(path: Path) -> str:
    task = [part for part in path.name.split("_") if part.startswith("task-")]
    return task[0].removeprefix("task-") if task else "rest"


def _of_table(table: LabelTable, names: list[str], path: Path) -> list[bool]:
    for name in names:
        if name not in table.laminar:
            raise InputError(f"{path}: region '{name}' is missing{nearest(name, table.laminar)}; add it.")
    return [table.laminar[name] for name in names]


def _pet(path: Path, units: str | None, names: tuple[str, ...], notes: dict[str, str]) -> np.ndarray:
    if units not in PET_UNITS:
        found = "missing" if units is None else f"'{units}'"
        raise InputError(
            f"{path}: the unit of the PET table is {found}; say pet_units=, one of {', '.join(PET_UNITS)}."
        )
    notes[path.name] = sha256(path)
    notes["synaptic density units"] = str(units)
    return read_pet_table(path, names)


def _matched(series: xr.DataArray, names: list[str], path: Path) -> xr.DataArray:
    """Say which file it is, when the regions of the series are not those of the connectome."""
    found = [str(n) for n in series["region"].values]
    for one, other, what in ((found, names, "the connectome"), (names, found, "the series")):
        missing = [name for name in one if name not in set(other)]
        if missing:
            raise InputError(
                f"{path}: region '{missing[0]}' is not in {what}{nearest(missing[0], other)} ({len(missing)} of "
                f"{len(one)} do not match); give the same parcellation for both."
            )
    return series
