"""Saving and loading whole results folders."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinbrain.errors import CorruptFile, InputError, nearest
from twinbrain.store.files import explained, file_sha256, jsonable, sync_folder, write_bytes_atomic
from twinbrain.store.folder import locked, output_folder, read_status, write_status
from twinbrain.store.origin import provenance as describe

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Result", "load", "save"]

FORMAT = 1  # of the results folder; raised when an older program could misread a newer folder
_ARRAYS = "results.zarr"
_MANIFEST = "checksums.json"
_SHOWN = 8  # figures listed in a notebook
_READY = ".ready"  # a complete new content that only has to be moved into place


def save(
    folder: str | Path,
    *,
    study: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    scores: Mapping[str, Any] | None = None,
    status: str | None = "complete",
    **objects: Any,
) -> Path:
    """Store results in a folder, replacing the results it holds.

    Parameters
    ----------
    folder
        Where to; made if it does not exist.
    study
        The text of the study, stored as ``study.toml``; the one already there is kept if none is given.
    provenance
        What explains the result, stored as ``provenance.json``; by default versions, machine and the objects' own
        ``provenance``.
    tables
        Name -> table, stored as ``tables/NAME.csv``.
    scores
        Stored as ``scores.json`` together with every object's ``to_dict()``.
    status
        Written last; None leaves it alone (a pipeline that has not finished).
    **objects
        Results by name: a Dataset or an object with ``to_dataset()`` becomes the group of that name in
        ``results.zarr``, ``to_dict()`` goes into the scores, a DataFrame (or an attribute ``table`` that is
        one) becomes a table.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the place cannot be written or holds something else, or an object cannot be stored (arrays of
        Python objects are refused).

    Examples
    --------
    >>> import tempfile
    >>> import xarray as xr
    >>> fit = xr.Dataset({"drive": (("time", "input"), [[0.03, 0.04]])}, {"input": ["left", "right"]})
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     out = save(Path(parent) / "out", fit=fit, scores={"fc_pcc": 0.4})
    ...     load(out).groups["fit"].drive.sel(input="right").item(), load(out).scores["fc_pcc"]
    (0.04, 0.4)
    """
    groups, all_tables, all_scores = _sorted_out(objects, tables or {}, scores or {})
    folder = output_folder(folder)
    with locked(folder), explained(folder):
        _finish_move(folder)
        _sweep(folder)
        new = folder / f".writing-{uuid.uuid4().hex[:8]}"
        new.mkdir()
        try:
            kept = folder / "study.toml"
            if study is None and kept.exists():
                study = kept.read_text(encoding="utf-8")
            if study is not None:
                (new / "study.toml").write_text(study, encoding="utf-8")
            _dump_json(new / "provenance.json", _explained_by(objects) if provenance is None else provenance)
            _dump_json(new / "scores.json", all_scores)
            _write_arrays(new / _ARRAYS, groups)
            indices = {name: _write_table(new / "tables", name, table) for name, table in all_tables.items()}
            _write_manifest(new, {"format": FORMAT, "groups": sorted(groups), "tables": indices})
            os.rename(new, folder / _READY)  # from here on the new results are the folder's results
        finally:
            shutil.rmtree(new, ignore_errors=True)
        sync_folder(folder)
        _finish_move(folder)
        if status is not None:
            write_status(folder, status)
    return folder


def _sorted_out(
    objects: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], scores: Mapping[str, Any]
) -> tuple[dict[str, xr.Dataset], dict[str, pd.DataFrame], dict[str, Any]]:
    """Sort what is to be stored into groups, tables and scores."""
    import pandas as pd
    import xarray as xr

    groups: dict[str, xr.Dataset] = {}
    all_tables, all_scores = dict(tables), {}
    for name, thing in objects.items():
        known = False
        if isinstance(thing, xr.Dataset):
            groups[name], known = thing, True
        elif isinstance(thing, xr.DataArray):
            groups[name], known = thing.to_dataset(name=thing.name or name), True
        elif isinstance(thing, pd.DataFrame):
            all_tables[name], known = thing, True
        else:
            if hasattr(thing, "to_dataset"):
                groups[name], known = thing.to_dataset(), True
            if hasattr(thing, "to_dict"):
                all_scores.update(thing.to_dict())
                known = True
            if isinstance(getattr(thing, "table", None), pd.DataFrame):
                all_tables.setdefault(name, thing.table)
        if not known:
            raise InputError(f"save: '{name}' is a {type(thing).__name__}, expected a Dataset, a DataFrame or a result")
    for name in (*groups, *all_tables):
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise InputError(f"save: '{name}' cannot name a group or table; expected letters, digits and _")
    all_scores.update(scores)
    return groups, all_tables, all_scores


def _explained_by(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Say with what the objects were made, by what they know of themselves."""
    own = {name: getattr(thing, "provenance", None) for name, thing in objects.items()}
    return describe(objects={name: known for name, known in own.items() if isinstance(known, Mapping)})


def _dump_json(path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(jsonable(data), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_arrays(path: Path, groups: Mapping[str, xr.Dataset]) -> None:
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, about its choice for text; the round trip is tested here
        xr.Dataset().to_zarr(path, zarr_format=3, consolidated=False)
        for name, group in groups.items():
            clean = _storable(group, name)
            encoding = {
                str(key): {"_FillValue": None} for key, value in clean.variables.items() if value.dtype.kind in "fc"
            }
            clean.to_zarr(
                path,
                group=name,
                mode="w",
                zarr_format=3,
                consolidated=False,
                encoding=encoding,
                write_empty_chunks=True,
            )


def _storable(group: xr.Dataset, name: str) -> xr.Dataset:
    """Make text of known length variable, refuse what only pickle could store."""
    variables = {}
    for key, variable in group.variables.items():
        values = variable.values
        textual = values.dtype.kind == "O" and all(isinstance(entry, str) for entry in values.flat)
        if textual or values.dtype.kind == "U":
            values = values.astype(np.dtypes.StringDType())
        if values.dtype.kind not in "biufcT" or values.dtype.itemsize > 16:
            raise InputError(f"save: array '{key}' of '{name}' is of type {values.dtype}, expected numbers or text")
        variables[key] = (variable.dims, values, jsonable(variable.attrs))
    coords = {key: variables.pop(key) for key in group.coords}
    return type(group)(variables, coords=coords, attrs=jsonable(group.attrs))


def _write_table(folder: Path, name: str, table: pd.DataFrame) -> str | None:
    """Write one table; the name of its index column, None for rows that are only counted."""
    import pandas as pd

    folder.mkdir(exist_ok=True)
    counted = isinstance(table.index, pd.RangeIndex) and table.index.name is None
    label = None if counted else str(table.index.name or "index")
    table.to_csv(folder / f"{name}.csv", index=not counted, index_label=label)
    return label


def _write_manifest(folder: Path, head: dict[str, Any]) -> None:
    """List every file with its checksum, and force all of it onto the disk."""
    files = {}
    for path in _files(folder):
        files[path.relative_to(folder).as_posix()] = file_sha256(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    manifest = {**head, "files": files}
    write_bytes_atomic(folder / _MANIFEST, json.dumps({**manifest, "self": _self_check(manifest)}, indent=1).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_dir()):
        sync_folder(path)
    sync_folder(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _self_check(manifest: Mapping[str, Any]) -> str:
    plain = json.dumps({key: value for key, value in manifest.items() if key != "self"}, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _finish_move(folder: Path) -> None:
    """Move complete new results into place; may be repeated after a crash at any point of it."""
    ready = folder / _READY
    if not ready.exists():
        return
    for entry in sorted(ready.iterdir(), key=lambda path: path.name == _MANIFEST):  # the manifest last
        target = folder / entry.name
        if target.is_dir():
            os.replace(target, folder / f".old-{uuid.uuid4().hex[:8]}")
        os.replace(entry, target)
    listed = {file.split("/")[0] for file in json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]}
    if "tables" not in listed:  # the former results had tables and the new ones have none
        shutil.rmtree(folder / "tables", ignore_errors=True)
    sync_folder(folder)
    ready.rmdir()
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left behind; only called under the lock."""
    for pattern in (".old-*", ".writing-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


class _Lazy(Mapping[str, Any]):
    """Names known now, contents read when first asked for."""

    def __init__(self, names: list[str], read: Callable[[str], Any]) -> None:
        self._names, self._read = names, functools.cache(read)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(f"'{name}' is not stored here{nearest(name, self._names)}")
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{', '.join(self._names)}>"


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What a results folder holds; arrays and tables are read when first used.

    Attributes
    ----------
    folder
        Where it is.
    status
        ``complete``, or how far the work came.
    groups
        Name -> Dataset, with dimensions, labels and units as they were saved.
    tables
        Name -> DataFrame.
    scores
        The content of ``scores.json``; what was not finite is None.
    provenance
        What explains the result: inputs by checksum, versions, machine, seeds.
    study
        The text of the study, or None.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     load(save(Path(parent) / "out", scores={"fc_pcc": 0.4})).status
    'complete'
    """

    folder: Path
    status: str
    groups: Mapping[str, xr.Dataset]
    tables: Mapping[str, pd.DataFrame]
    scores: dict[str, Any]
    provenance: dict[str, Any]
    study: str | None

    def __repr__(self) -> str:
        groups = ", ".join(self.groups) or "none"
        return f"Result({str(self.folder)!r}, status {self.status or 'none'}, groups: {groups})"

    def _repr_html_(self) -> str:
        figures = [f"{key} {value:.3g}" for key, value in self.scores.items() if isinstance(value, float)]
        rows = {
            "groups": self.groups,
            "tables": self.tables,
            "scores": [*figures[:_SHOWN], *(["..."] if len(figures) > _SHOWN else [])],
            "study": ["yes" if self.study is not None else "none"],
        }
        body = "".join(
            f"<tr><th>{name}</th><td>{html.escape(', '.join(held) or 'none')}</td></tr>" for name, held in rows.items()
        )
        return f"<table><caption>{html.escape(repr(self))}</caption>{body}</table>"


def load(folder: str | Path, *, verify: bool = True) -> Result:
    """Open the results in a folder.

    Parameters
    ----------
    folder
        A folder written by :func:`save` or by ``twinbrain run``.
    verify
        Compare every file with its checksum first.

    Raises
    ------
    InputError
        If there are no results in the folder.
    CorruptFile
        If a file is damaged or missing; the sentence names the file, and the array inside ``results.zarr``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     load(Path(parent) / "nothing")
    Traceback (most recent call last):
    twinbrain.errors.InputError: ...nothing: there is no such folder; expected a folder with results
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "there is no such folder"
        raise InputError(f"{folder}: {what}; expected a folder with results")
    if (folder / _READY).exists():
        with locked(folder), explained(folder):
            _finish_move(folder)
    status = read_status(folder)
    if not (folder / _MANIFEST).exists():
        if (folder / _ARRAYS).exists() or status == "complete":
            raise CorruptFile(f"{folder / _MANIFEST}: is missing, expected the checksums of the results beside it")
        hint = f"; make some with 'twinbrain run STUDY --out {folder}'"
        if status:
            hint = f" yet (status: {status}); 'twinbrain resume {folder}' goes on"
        raise InputError(f"{folder}: holds no results{hint}")
    manifest = _read_manifest(folder / _MANIFEST)
    if verify:
        _verify(folder, manifest["files"])

    def read_group(name: str) -> xr.Dataset:
        import xarray as xr

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            group = xr.open_zarr(
                folder / _ARRAYS,
                group=name,
                zarr_format=3,
                consolidated=False,
                chunks=None,
                mask_and_scale=False,
                decode_times=False,
            )
            return _readable(group)

    def read_table(name: str) -> pd.DataFrame:
        import pandas as pd

        older = int(pd.__version__.split(".")[0]) < 3  # later versions are exact without being asked
        exact: dict[str, Any] = {"float_precision": "round_trip"} if older else {}
        table: pd.DataFrame = pd.read_csv(
            folder / "tables" / f"{name}.csv",
            index_col=manifest["tables"][name],
            **exact,
            keep_default_na=False,
            na_values=[""],
        )
        return table

    study = folder / "study.toml"
    return Result(
        folder=folder,
        status=status,
        groups=_Lazy(manifest["groups"], read_group),
        tables=_Lazy(sorted(manifest["tables"]), read_table),
        scores=json.loads((folder / "scores.json").read_text(encoding="utf-8")),
        provenance=json.loads((folder / "provenance.json").read_text(encoding="utf-8")),
        study=study.read_text(encoding="utf-8") if "study.toml" in manifest["files"] else None,
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        intact = manifest["self"] == _self_check(manifest)
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise CorruptFile(f"{path}: is damaged (it does not match its own checksum); restore it or run the study again")
    if manifest["format"] > FORMAT:
        raise InputError(f"{path}: has format {manifest['format']}, expected at most {FORMAT}; use a newer twinbrain")
    return dict(manifest)


def _verify(folder: Path, listed: Mapping[str, str]) -> None:
    mend = "restore it from a copy or run the study again"
    for name, expected in listed.items():
        path = folder / name
        parts = name.split("/")
        where = ""
        if parts[0] == _ARRAYS and len(parts) >= 4:
            where = f" (array '{parts[2]}' of group '{parts[1]}')"
        try:
            found = file_sha256(path)
        except FileNotFoundError:
            raise CorruptFile(f"{path}{where}: is missing; {mend}") from None
        except OSError as error:
            raise CorruptFile(f"{path}{where}: cannot be read ({error.strerror}); {mend}") from error
        if found != expected:
            raise CorruptFile(f"{path}{where}: is damaged (its checksum is not the one stored with it); {mend}")
    for path in _files(folder / _ARRAYS):
        if path.relative_to(folder).as_posix() not in listed:
            raise CorruptFile(f"{path}: was not written with these results; remove it")


def _readable(group: xr.Dataset) -> xr.Dataset:
    """Give text the type it usually has in NumPy."""
    changed = {}
    for key, variable in group.variables.items():
        if variable.dtype.kind == "T":
            values = variable.values
            width = max((len(text) for text in values.flat), default=0)
            changed[key] = (variable.dims, values.astype(f"U{max(width, 1)}"), variable.attrs)
    coords = {key: changed.pop(key) for key in list(changed) if key in group.coords}
    return group.assign(changed).assign_coords(coords)
