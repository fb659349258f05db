"""One person's data, whatever its form: the one door for users. Here: a folder of plain files, read and written.

The folder::

    subject.toml       name, repetition_time_s, and what the numbers mean (see :func:`read_subject`)
    connectome.csv     region x region, labelled, or plain numbers in the order of regions.csv
    regions.csv        one row per region (may be missing if connectome.csv is labelled)
    lengths.csv        tract lengths in mm, laid out as connectome.csv (optional)
    bold_<run>.csv     one file per run: header = region names, then one row per volume (optional)

CSV means UTF-8, comma between columns, point in numbers.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import math
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.data.bids_names import is_bids
from twinbrain.data.preparation import Preparation
from twinbrain.data.subject import Subject
from twinbrain.data.tables import is_number, number_table, read_cells, read_text, unique_names
from twinbrain.errors import InputError, nearest

__all__ = ["read_subject", "write_subject"]

_log = logging.getLogger(__name__)

Float = npt.NDArray[np.float64]

_KEYS = ("name", "repetition_time_s", "connectome_rows", "connectome_units", "bold_units")
_COLUMNS = ("name", "grey_matter_mm3", "x", "y", "z", "laminar", "synaptic_density")
_TRUTH = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}


def read_subject(
    path: str | os.PathLike[str],
    participant_label: str | None = None,
    *,
    session: str | None = None,
    space: str | None = None,
    atlas: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    connectome: str | os.PathLike[str] | None = None,
    lengths: str | os.PathLike[str] | None = None,
    weighting: str | None = None,
    connectome_rows: str | None = None,
    connectome_units: str | None = None,
    bold: Mapping[str, str | os.PathLike[str]] | None = None,
    repetition_time_s: float | None = None,
    pet: str | os.PathLike[str] | None = None,
    pet_units: str | None = None,
    preparation: Preparation | None = None,
    level: Literal["region", "voxel"] | None = None,
) -> Subject:
    """Read one person from what there is.

    ``path`` may be

    * a folder with ``subject.toml`` (plain files, see the notes);
    * a BIDS folder with derivatives (:func:`twinbrain.data.bids.read_bids`);
    * The Virtual Brain's ``connectivity.zip`` (:func:`twinbrain.data.tvb.read_tvb`);
    * a connectome: csv, tsv, txt, npy, npz, mat, h5; series come with ``bold``;
    * parcellated series: ``.ptseries.nii``, or tsv, csv, npz with ``connectome``.

    Parameters
    ----------
    path
        Folder or file.
    participant_label, session, space
        Who, when and in which space, where a BIDS folder holds several.
    atlas, labels
        BIDS: label image (a path, or the atlas's name) and its table. Files: ``labels`` names the rows of a
        connectome that has no names.
    connectome, lengths
        Files, where they are not part of ``path``.
    weighting
        Which of several matrices.
    connectome_rows
        ``"target"`` or ``"source"``: what a row of a connectome is that is not symmetric.
    connectome_units
        Units, where the file's name does not tell.
    bold
        Run name -> file of parcellated series (BIDS folders and plain folders bring their own).
    repetition_time_s
        Seconds from volume to volume of ``bold``, where the files do not say.
    pet, pet_units
        Synaptic density (image or table), and its unit where no side-car says.
    preparation
        Steps for each run of a BIDS folder or of files: see :class:`twinbrain.data.preparation.Preparation`.
    level
        ``"voxel"``: read the person's own voxels too (BIDS).

    Returns
    -------
    Subject
        ``provenance`` holds each file's SHA-256 and a line for every step.

    Raises
    ------
    InputError
        With the file, and the row and column where there is one, what was found, what was expected and how to mend it.

    Notes
    -----
    ``subject.toml`` of a folder of plain files holds

    ===================== ============================================================================
    name                  who it is; default: the folder's name
    repetition_time_s     seconds from volume to volume, a number, or a table run -> number; required
                          as soon as there is a ``bold_<run>.csv``, never guessed
    connectome_rows       ``"target"`` (row i holds what i receives) or ``"source"``; required unless the
                          matrix is symmetric, because the numbers do not tell
    connectome_units      default "arbitrary"
    bold_units            default "arbitrary"
    ===================== ============================================================================

    ``connectome.csv`` is labelled if its first cell is not a number: then the first row and the first
    column hold region names (the cell itself is ignored). ``regions.csv`` has a header and the columns
    ``name`` and, all optional, ``grey_matter_mm3``, ``x``, ``y``, ``z`` (mm), ``laminar`` (true/false),
    ``synaptic_density``. Its order is the Subject's order of regions; without it, that of
    ``connectome.csv``. Everything labelled is matched by name. A row of ``bold_<run>.csv`` that holds ``n/a``
    alone is a missing volume.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> _ = (place / "subject.toml").write_text('name = "toy"')
    >>> _ = (place / "connectome.csv").write_text(",Insula_L,Insula_R\\nInsula_L,0,3\\nInsula_R,3,0\\n")
    >>> read_subject(place)
    Subject 'toy': 2 regions (2 laminar), connectome density 1.00, no BOLD
    """
    path = Path(path)
    options: dict[str, Any] = {
        "participant_label": participant_label,
        "session": session,
        "space": space,
        "atlas": atlas,
        "labels": labels,
        "connectome": connectome,
        "lengths": lengths,
        "weighting": weighting,
        "connectome_rows": connectome_rows,
        "connectome_units": connectome_units,
        "bold": bold,
        "repetition_time_s": repetition_time_s,
        "pet": pet,
        "pet_units": pet_units,
        "preparation": preparation,
        "level": level,
    }
    given = {name: value for name, value in options.items() if value is not None}
    try:
        found = "folder" if path.is_dir() else "file" if path.exists() else "nothing"
    except (OSError, ValueError):
        found = "nothing"
    if found == "nothing":
        raise InputError(
            f"{path}: there is no such folder or file; give a folder with subject.toml, a BIDS folder, or a file."
        )
    if found == "folder" and (path / "subject.toml").exists():
        _refuse(path, given, "a folder of plain files", ())
        return _read_plain(path)
    if found == "folder" and is_bids(path):
        from twinbrain.data.bids import read_bids
        from twinbrain.data.bids_options import ReadOptions

        _refuse(path, given, "a BIDS folder", tuple(ReadOptions.__dataclass_fields__))
        return read_bids(path, ReadOptions(**given))
    if found == "folder":
        above = next((folder for folder in list(path.absolute().parents)[:4] if is_bids(folder)), None)
        hint = f" It lies in the BIDS folder '{above}': give that one." if above else ""
        raise InputError(
            f"{path / 'subject.toml'}: the file is missing; a subject folder needs it (a BIDS folder has a "
            f"dataset_description.json or folders sub-<label>).{hint}"
        )
    from twinbrain.data.loose import LOOSE_OPTIONS, read_loose

    _refuse(path, given, "a single file", LOOSE_OPTIONS)
    return read_loose(path, **given)


def _refuse(path: Path, given: Mapping[str, Any], what: str, allowed: tuple[str, ...]) -> None:
    for name in given:
        if name not in allowed:
            raise InputError(f"{path}: this is {what}, to which the option {name}= does not apply; leave it out.")


def _read_plain(folder: Path) -> Subject:
    """Read a folder of plain files."""
    about = _about(folder / "subject.toml")
    runs = _runs(folder)
    columns = _regions(folder / "regions.csv") if (folder / "regions.csv").exists() else None
    names = None if columns is None else list(columns["name"])
    connectome = _matrix(folder / "connectome.csv", names)
    if names is None:
        names = [str(n) for n in connectome.index]
    rows = _rows_are(about, connectome, folder)
    lengths = _matrix(folder / "lengths.csv", names) if (folder / "lengths.csv").exists() else None
    tables = {run: _series(path) for run, path in runs.items()}
    times = _repetition_times(about, runs, folder)
    columns = columns or {}
    read = [folder / "subject.toml", folder / "connectome.csv", *runs.values()]
    read += [folder / f for f in ("regions.csv", "lengths.csv") if (folder / f).exists()]
    try:
        return Subject.from_arrays(
            _oriented(connectome, rows),
            names,
            {
                run: xr.DataArray(
                    table.to_numpy(),
                    dims=("time", "region"),
                    coords={"region": list(table.columns)},
                    attrs={"repetition_time_s": times[run], "units": about.get("bold_units", "arbitrary")},
                )
                for run, table in tables.items()
            },
            grey_matter=columns.get("grey_matter_mm3"),
            lengths=None if lengths is None else _oriented(lengths, rows),
            positions=np.stack([columns[a] for a in "xyz"], axis=1) if "x" in columns else None,
            synaptic_density=columns.get("synaptic_density"),
            laminar=columns.get("laminar"),
            name=about.get("name", folder.resolve().name),
            provenance={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in read},
            connectome_units=about.get("connectome_units", "arbitrary"),
        )
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def _about(path: Path) -> dict[str, Any]:
    try:
        about = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: this is not valid TOML ({error}); correct it there.") from None
    for key, value in about.items():
        if key not in _KEYS:
            raise InputError(f"{path}: '{key}' is not a known key{nearest(key, _KEYS)}; known are {', '.join(_KEYS)}.")
        if key != "repetition_time_s" and not isinstance(value, str):
            raise InputError(f"{path}: {key} is {value!r}, but a text in quotes is needed.")
    if about.get("connectome_rows", "target") not in ("target", "source"):
        raise InputError(
            f"{path}: connectome_rows is '{about['connectome_rows']}', but only 'target' and 'source' are "
            "possible; say which one a row of connectome.csv is."
        )
    return about


def _runs(folder: Path) -> dict[str, Path]:
    """Find the BOLD files, and say which tables are none of ours."""
    runs: dict[str, Path] = {}
    for path in sorted(folder.glob("*.csv")):
        if path.name in ("connectome.csv", "regions.csv", "lengths.csv"):
            continue
        if path.name.startswith("bold_") and len(path.stem) > len("bold_"):
            runs[path.stem[len("bold_") :]] = path
        elif path.stem.lower().startswith("bold"):
            raise InputError(
                f"{path}: the run has no name; rename the file to bold_<run>.csv, for example bold_rest.csv."
            )
        else:
            _log.warning("%s: this file is not part of a subject folder and is not read", path)
    return runs


def _repetition_times(about: Mapping[str, Any], runs: Mapping[str, Path], folder: Path) -> dict[str, float]:
    given = about.get("repetition_time_s")
    times: dict[str, float] = {}
    for run, path in runs.items():
        value = given.get(run) if isinstance(given, dict) else given
        if value is None:
            raise InputError(
                f"{folder / 'subject.toml'}: repetition_time_s is missing, but {path.name} is there; add "
                "the seconds from volume to volume, for example repetition_time_s = 0.72."
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(
                f"{folder / 'subject.toml'}: repetition_time_s is {value!r}, but a number of seconds "
                "without quotes is needed."
            )
        times[run] = float(value)
    if isinstance(given, dict):
        for run in given:
            if run not in runs:
                raise InputError(
                    f"{folder / 'subject.toml'}: repetition_time_s names the run '{run}', but there is no "
                    f"bold_{run}.csv{nearest(run, runs)}."
                )
    return times


def _rows_are(about: Mapping[str, Any], connectome: pd.DataFrame, folder: Path) -> str:
    ordered = connectome.reindex(columns=connectome.index) if set(connectome.columns) == set(connectome.index) else None
    if "connectome_rows" in about or ordered is None:
        return str(about.get("connectome_rows", "target"))
    values = ordered.to_numpy()
    if not np.allclose(values, values.T, rtol=1e-9, atol=0.0):
        raise InputError(
            f"{folder / 'connectome.csv'}: the matrix is not symmetric, and its numbers do not tell which "
            "way it points; add "
            'connectome_rows = "target" (row i holds what i receives) or "source" to subject.toml.'
        )
    return "target"


def _oriented(table: pd.DataFrame, rows: str) -> xr.DataArray:
    dims = ("target", "source") if rows == "target" else ("source", "target")
    coords = {dims[0]: list(table.index), dims[1]: list(table.columns)}
    return xr.DataArray(table.to_numpy(), dims=dims, coords=coords)


def _matrix(path: Path, names: list[str] | None) -> pd.DataFrame:
    """Read a region x region table, labelled or plain; rows and columns carry names afterwards."""
    cells = read_cells(path)
    if is_number(cells[0][0]):
        if names is None:
            raise InputError(
                f"{path}: the table has no region names, and there is no regions.csv; add region names as "
                "first row and first column, or a regions.csv with a column 'name'."
            )
        if len(cells) != len(names) or len(cells[0]) != len(names):
            raise InputError(
                f"{path}: the table is {len(cells)} x {len(cells[0])}, but regions.csv names {len(names)} "
                "regions; give one row and one column per region."
            )
        return pd.DataFrame(number_table(path, cells, 1, names), index=names, columns=names)
    columns = unique_names(path, cells[0][1:], "row 1")
    rows = unique_names(path, [row[0] for row in cells[1:]], "column 1")
    for found, other, where in ((rows, columns, "first column"), (columns, rows, "header")):
        for name in found:
            if name not in other:
                at = "header" if where == "first column" else "first column"
                raise InputError(
                    f"{path}: region '{name}' is in the {where} but not in the {at}{nearest(name, other)}; "
                    "both must name the same regions."
                )
    _same_names(path, rows, names)
    return pd.DataFrame(number_table(path, [row[1:] for row in cells[1:]], 2, columns), index=rows, columns=columns)


def _same_names(path: Path, found: list[str], names: list[str] | None) -> None:
    for name in found if names is not None else ():
        if names is not None and name not in names:
            raise InputError(
                f"{path}: region '{name}' is not in regions.csv{nearest(name, names)}; rename or remove it."
            )
    for name in names or ():
        if name not in found:
            raise InputError(f"{path}: region '{name}' of regions.csv is missing{nearest(name, found)}; add it.")


def _series(path: Path) -> pd.DataFrame:
    cells = read_cells(path)
    if all(is_number(cell) for cell in cells[0]):
        raise InputError(f"{path}, row 1: numbers were found, but the first row must hold the region names; add them.")
    if not cells[0][0] and all(cells[0][1:]):
        raise InputError(
            f"{path}, row 1: the first column has no name, as when pandas writes row numbers; write the table "
            "without them (to_csv(..., index=False))."
        )
    columns = unique_names(path, cells[0], "row 1")
    if len(cells) == 1:
        raise InputError(f"{path}: there is no volume under the region names; give one row per volume.")
    return pd.DataFrame(number_table(path, cells[1:], 2, columns, missing=True), columns=columns)


def _regions(path: Path) -> dict[str, Any]:
    """Read regions.csv as column -> values; ``name`` is always there."""
    cells = read_cells(path)
    header = cells[0]
    for k, column in enumerate(header):
        if column not in _COLUMNS:
            raise InputError(
                f"{path}, row 1: '{column}' is not a known column{nearest(column, _COLUMNS)}; known are "
                f"{', '.join(_COLUMNS)}."
            )
        if column in header[:k]:
            raise InputError(f"{path}, row 1: column '{column}' is there twice; keep one.")
    if "name" not in header:
        raise InputError(f"{path}, row 1: the column 'name' is missing; add the region names.")
    axes = [a for a in "xyz" if a in header]
    if axes and len(axes) < 3:
        raise InputError(f"{path}, row 1: of x, y and z only {', '.join(axes)} is there; give all three or none.")
    if len(cells) == 1:
        raise InputError(f"{path}: there is no region under the header; give one row per region.")
    columns: dict[str, Any] = {}
    for k, column in enumerate(header):
        values = [row[k] for row in cells[1:]]
        if column == "name":
            columns[column] = unique_names(path, values, "column 'name'")
        elif column == "laminar":
            for r, cell in enumerate(values):
                if cell.lower() not in _TRUTH:
                    raise InputError(f"{path}, row {r + 2}, column 'laminar': '{cell}' was found; give true or false.")
            columns[column] = np.array([_TRUTH[cell.lower()] for cell in values])
        else:
            columns[column] = number_table(path, [[cell] for cell in values], 2, [column])[:, 0]
    return columns


def write_subject(subject: Subject, folder: str | os.PathLike[str]) -> Path:
    """Write a Subject as a folder that :func:`read_subject` reads back to the same numbers.

    The folder appears whole or not at all. The atlas, the provenance, events and voxels are not written.

    Parameters
    ----------
    subject
        Whom to write.
    folder
        A path that does not exist yet; its parent must.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    InputError
        If something is there already, or the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> person = Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"], name="toy")
    >>> place = write_subject(person, Path(tempfile.mkdtemp()) / "toy")
    >>> sorted(path.name for path in place.iterdir())
    ['connectome.csv', 'regions.csv', 'subject.toml']
    >>> bool((read_subject(place).connectome == person.connectome).all())
    True
    """
    import tomli_w

    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: there is something already; give a path that does not exist yet.")
    names = list(subject.regions)
    about: dict[str, Any] = {
        "name": subject.name,
        "connectome_rows": "target",
        "connectome_units": str(subject.connectome.attrs["units"]),
    }
    for series in subject.bold.values():
        about["bold_units"] = str(series.attrs["units"])
    if subject.bold:
        about["repetition_time_s"] = {run: float(x.attrs["repetition_time_s"]) for run, x in subject.bold.items()}
    columns: dict[str, list[str]] = {"name": names}
    if subject.grey_matter.attrs["units"] == "mm3":
        columns["grey_matter_mm3"] = _written(subject.grey_matter.values)
    if subject.positions is not None:
        columns |= {axis: _written(subject.positions.sel(axis=axis).values) for axis in "xyz"}
    columns["laminar"] = ["true" if value else "false" for value in subject.laminar.values]
    if subject.synaptic_density is not None:
        columns["synaptic_density"] = _written(subject.synaptic_density.values)
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            temporary.chmod(0o755)
            (temporary / "subject.toml").write_text(tomli_w.dumps(about), encoding="utf-8")
            _write(temporary / "regions.csv", [list(columns), *zip(*columns.values(), strict=True)])
            for name, matrix in (("connectome", subject.connectome), ("lengths", subject.lengths)):
                if matrix is not None:
                    body = ([n, *_written(row)] for n, row in zip(names, matrix.values, strict=True))
                    _write(temporary / f"{name}.csv", [["", *names], *body])
            for run, series in subject.bold.items():
                _write(temporary / f"bold_{run}.csv", [names, *(_written(row) for row in series.values)])
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(
            f"{folder}: the folder cannot be written ({error.strerror}); check the parent folder."
        ) from None
    return folder


def _written(values: npt.NDArray[Any]) -> list[str]:
    """Shortest text that reads back to the same number; ``n/a`` where there is none."""
    return ["n/a" if math.isnan(value) else repr(float(value)) for value in values]


def _write(path: Path, rows: Iterable[Iterable[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)
