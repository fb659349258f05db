"""``twinbrain analyse``: BOLD from results, a person, a table or an archive; tables, figures and a page out."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.errors import InputError, nearest

__all__ = ["Wanted", "analyse_files", "shown"]

_LOG = logging.getLogger(__name__)
_TABLES = {".csv": ",", ".tsv": "\t", ".txt": ""}
_TIME_NAMES = ("time", "time_s", "t")
_LONGEST_TR_S = 30.0


@dataclass(frozen=True)
class Wanted:
    """Options of the command that say how files are read.

    ``repetition_time_s`` for tables without times; ``run`` of a person with several; ``without`` regions left out.

    Examples
    --------
    >>> Wanted(repetition_time_s=0.72).without
    ()
    """

    repetition_time_s: float | None = None
    run: str | None = None
    without: tuple[str, ...] = ()


_AS_IT_IS = Wanted()


def analyse_files(
    source: str,
    out: str | Path,
    *,
    recorded: str | None = None,
    what: Sequence[str] = (),
    wanted: Wanted = _AS_IT_IS,
    page: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Read BOLD, analyse it, and write tables, figures and a page.

    Parameters
    ----------
    source
        A results folder, a person's folder, the number of a sample person, or a table or archive of BOLD, time first:
        ``.csv``, ``.tsv`` (region names in the first row; a column ``time`` in s if there is one), ``.npy``, ``.npz``
        (``bold``, and if there ``regions``, ``time`` in s, ``repetition_time_s``).
    out
        Folder to write to. One that holds a run is refused.
    recorded
        Another such source to lay beside the first.
    what
        Parts of the analysis; () for all.
    wanted
        How files are read.
    page
        Whether the page and its figures are made.
    options
        Passed on to `twinbrain.analyse`.

    Returns
    -------
    DataFrame
        The table of measures, as written to ``tables/analysis.csv``.

    Raises
    ------
    InputError
        If something cannot be read, measured or written.

    Examples
    --------
    >>> analyse_files("no/such/file.csv", "out")
    Traceback (most recent call last):
    twinbrain.errors.InputError: no/such/file.csv: there is no such file or folder, ...
    """
    from twinbrain import store
    from twinbrain.analyse.analysis import analyse

    folder = Path(out)
    if (folder / "study.toml").exists():
        raise InputError(f"{folder}: holds a run, which an analysis would replace; choose another folder with --out")
    model, other = _read(source, wanted), None if recorded is None else _read(recorded, wanted)
    found = analyse(model, recorded=other, what=list(what) or None, **options)
    about = {"source": source} | ({"recording": recorded} if recorded else {})
    for note in found.notes:
        _LOG.warning("not measured: %s", note)
    tables = {"analysis": found.flat(), **{f"analysis_{name}": table for name, table in found.tables.items()}}
    store.save(
        folder,
        analysis=found.to_dataset().assign_attrs({f"of_{key}": value for key, value in about.items()}),
        tables=tables,
        scores=found.to_dict(),
        provenance=store.provenance(seeds={"analysis": int(options.get("seed", 0))}, inputs=_hashes(about)),
    )
    if page:
        from twinbrain.report.page import report

        report(folder)
    return found.flat()


def shown(table: pd.DataFrame) -> str:
    """Write the table for a terminal: values, and for one side what surrogates give.

    Examples
    --------
    >>> columns = {"value": [0.25], "null_mean": [0.1], "p_value": [0.02], "note": [""]}
    >>> print(shown(pd.DataFrame(columns, index=pd.Index(["mean_order"], name="measure"))))
             measure    value surrogates    p
          mean_order     0.25        0.1 0.02
    """
    kinds = {"value": "value", "null_mean": "surrogates", "p_value": "p"}
    sides = [""] if "value" in table else ["model_", "recorded_"]
    heads, columns = ["measure"], [[str(name) for name in table.index]]
    for side in sides:
        for kind, head in kinds.items():
            heads.append(f"{side.rstrip('_')} {'' if side and kind == 'value' else head}".strip() if side else head)
            columns.append(["" if not math.isfinite(v) else f"{v:.3g}" for v in table[side + kind].astype(float)])
    width = [max(len(head), *(len(cell) for cell in column)) for head, column in zip(heads, columns, strict=True)]
    width = [max(width[0], 16), *(max(w, 8 if k % 3 == 0 else w) for k, w in enumerate(width[1:]))]
    lines = [heads, *(list(row) for row in zip(*columns, strict=True))]
    return "\n".join(" ".join(cell.rjust(w) for cell, w in zip(line, width, strict=True)) for line in lines)


def _hashes(about: dict[str, str]) -> dict[str, str]:
    from twinbrain import store

    return {path: store.file_sha256(path) for path in about.values() if Path(path).is_file()}


def _read(source: str, wanted: Wanted) -> Any:
    from twinbrain.data.sample import load_sample, sample_ids

    path = Path(source)
    if not path.exists():
        if source in sample_ids():
            return _without(_of_person(load_sample(source), wanted, source), wanted, source)
        hint = nearest(source, sample_ids()) or (
            ", nor is it the number of a sample person; expected results of 'twinbrain run', a person's folder, or a "
            ".csv, .tsv, .npy or .npz of BOLD"
        )
        raise InputError(f"{source}: there is no such file or folder{hint}")
    if path.is_dir():
        return _of_folder(path, wanted)
    if path.suffix.lower() in _TABLES:
        return _without(_of_table(path, wanted), wanted, source)
    if path.suffix.lower() in (".npy", ".npz"):
        return _without(_of_arrays(path, wanted), wanted, source)
    kind = "an image" if path.name.endswith((".nii", ".nii.gz", ".mgz")) else f"a '{path.suffix or path.name}' file"
    raise InputError(
        f"{source}: is {kind}, expected a .csv, .tsv, .npy or .npz with one series per region; average the BOLD by "
        "region first"
    )


def _of_folder(path: Path, wanted: Wanted) -> Any:
    if (path / "checksums.json").exists():
        from twinbrain.store import load

        result = load(path)
        if wanted.without:
            raise InputError(f"{path}: --without leaves regions out of a recording, but this is a results folder")
        if set(result.groups) <= {"analysis"}:
            raise InputError(f"{path}: holds an analysis, expected a run or BOLD; give what it was made of")
        return result
    if (path / "subject.toml").exists():
        from twinbrain.data.read import read_subject

        return _without(_of_person(read_subject(path), wanted, str(path)), wanted, str(path))
    raise InputError(
        f"{path}: is neither a results folder (checksums.json) nor a person's (subject.toml); give one, or a table"
    )


def _of_person(person: Any, wanted: Wanted, source: str) -> xr.DataArray:
    runs = dict(person.bold)
    if not runs:
        raise InputError(f"{source}: the person has no BOLD, expected a bold_RUN.csv; add one")
    if wanted.run is None and len(runs) > 1:
        raise InputError(f"{source}: has the runs {', '.join(runs)}; choose one with --run")
    name = wanted.run or next(iter(runs))
    if name not in runs:
        hint = nearest(name, list(runs)) or f"; its runs are {', '.join(runs)}"
        raise InputError(f"{source}: has no run '{name}'{hint}")
    bold: xr.DataArray = runs[name]
    if "time" not in bold.coords:
        bold = bold.assign_coords(time=np.arange(bold.sizes["time"]) * float(bold.attrs["repetition_time_s"]))
    return bold


def _of_table(path: Path, wanted: Wanted) -> xr.DataArray:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise InputError(f"{path}: has {len(lines)} rows, expected one per volume under the names of the regions")
    first = lines[0]
    mark = max((",", "\t", ";"), key=first.count) if any(m in first for m in ",\t;") else None
    rows = [line.split() for line in lines] if mark is None else list(csv.reader(lines, delimiter=mark))
    rows = [[cell.strip() for cell in row] for row in rows]
    width = len(rows[0])
    for number, row in enumerate(rows):
        if len(row) != width:
            raise InputError(
                f"{path}, row {number + 1}: has {len(row)} cells, expected {width} as in row 1; complete it"
            )
    header = [] if all(_is_number(cell) for cell in rows[0]) else rows.pop(0)
    if not header:
        _LOG.warning("%s: has no names in its first row; the regions are called R1 to R%d", path, width)
    names = header or [f"R{k + 1}" for k in range(width)]
    if header and not names[0] and all(_is_number(row[0]) for row in rows):  # row numbers, as pandas writes them
        names[0] = "row"
        wanted_out = {"row"}
    else:
        wanted_out = set()
    for name in wanted.without:
        if name not in names:
            raise InputError(f"{path}: --without names '{name}', which is not there{nearest(name, names)}")
    kept = [k for k, name in enumerate(names) if name not in wanted_out and name not in wanted.without]
    values = np.empty((len(rows), len(kept)))
    for at, row in enumerate(rows):
        for place, k in enumerate(kept):
            cell = row[k]
            if not (_is_number(cell) and math.isfinite(float(cell))):
                found = f"'{cell}' is no number" if cell else "the cell is empty"
                raise InputError(
                    f"{path}, row {at + 1 + bool(header)}, column '{names[k]}': {found}; give one, or leave the "
                    f"column out with --without {names[k]}"
                )
            values[at, place] = float(cell)
    chosen = [names[k] for k in kept]
    clock = next((k for k, name in enumerate(chosen) if name.lower() in _TIME_NAMES), None)
    times = None if clock is None else values[:, clock]
    if clock is not None:
        values, chosen = np.delete(values, clock, axis=1), chosen[:clock] + chosen[clock + 1 :]
    return _labelled(path, values, chosen, times, None, wanted)


def _of_arrays(path: Path, wanted: Wanted) -> xr.DataArray:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"bold": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a NumPy file ({error}); write it with numpy.savez") from None
    if "bold" not in arrays:
        two = [name for name, array in arrays.items() if array.ndim == 2]
        if len(two) != 1:
            raise InputError(
                f"{path}: holds {', '.join(arrays) or 'nothing'}, expected 'bold' (time, region); name it so"
            )
        arrays["bold"] = arrays[two[0]]
    bold = arrays["bold"]
    if bold.ndim != 2 or not np.issubdtype(bold.dtype, np.number):
        raise InputError(f"{path}: 'bold' is {bold.shape} of {bold.dtype}, expected numbers (time, region); reshape it")
    names = arrays.get("regions", arrays.get("region"))
    if names is None:
        _LOG.warning("%s: names no regions; they are called R1 to R%d", path, bold.shape[1])
        names = np.array([f"R{k + 1}" for k in range(bold.shape[1])])
    if names.shape != (bold.shape[1],):
        raise InputError(f"{path}: names {names.size} regions, but 'bold' has {bold.shape[1]} columns; put time first")
    tr = arrays.get("repetition_time_s", arrays.get("repetition_time"))
    step = None if tr is None else float(np.ravel(tr)[0])
    return _labelled(path, bold.astype(np.float64), [str(n) for n in names], arrays.get("time"), step, wanted)


def _labelled(
    path: Path,
    values: npt.NDArray[np.float64],
    names: list[str],
    times: npt.NDArray[np.float64] | None,
    step: float | None,
    wanted: Wanted,
) -> xr.DataArray:
    given = wanted.repetition_time_s
    step = given if given is not None else step
    if len(values) < len(names) and len(values) < 100:
        _LOG.warning(
            "%s: %d volumes of %d regions; if rows are regions, turn the table round", path, len(values), len(names)
        )
    if times is None:
        if step is None:
            raise InputError(
                f"{path}: does not say how far apart its volumes are; give --repetition-time SECONDS or a column 'time'"
            )
        if not 0 < step <= _LONGEST_TR_S:
            ms = f"; {step:g} ms would be {step / 1000:g}" if step > _LONGEST_TR_S else ""
            raise InputError(f"--repetition-time is {step:g}, expected seconds above 0 and up to {_LONGEST_TR_S:g}{ms}")
        times = np.asarray(np.arange(len(values)) * step, dtype=np.float64)
    coords = {"time": np.asarray(times, dtype=np.float64), "region": names}
    return xr.DataArray(values, dims=("time", "region"), coords=coords, attrs={"units": "arbitrary"})


def _without(bold: xr.DataArray, wanted: Wanted, source: str) -> xr.DataArray:
    names = [str(name) for name in bold["region"].values]
    if Path(source).suffix.lower() not in _TABLES:  # a table has left them out already
        for name in wanted.without:
            if name not in names:
                raise InputError(f"{source}: --without names '{name}', which is not there{nearest(name, names)}")
    return bold.isel(region=[k for k, name in enumerate(names) if name not in wanted.without])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
