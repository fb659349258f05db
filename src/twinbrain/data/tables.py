"""Tables as people write them (csv, tsv, blanks between numbers), checked cell by cell, and tables of labels."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twinbrain.data.safety import file_size, reading
from twinbrain.errors import InputError, nearest

__all__ = ["LabelTable", "is_number", "number_table", "read_cells", "read_labels", "read_text", "unique_names"]

Float = npt.NDArray[np.float64]

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": None, "": None}
_SIGNS = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "blanks"}
_MOST_TEXT = 4_000_000_000  # bytes; a table of numbers is smaller
_DECIMAL_COMMA = re.compile(r"^[-+]?\d+,\d+$")
_MISSING = ("n/a", "N/A", "NA")
_TRUTH = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
_INDEX = ("index", "label", "id", "value", "labelid", "label_value")
_NAME = ("name", "region", "label_name", "structure", "regions")


def read_text(path: Path) -> str:
    """Read a UTF-8 text file."""
    try:
        if path.stat().st_size > _MOST_TEXT:
            raise InputError(f"{path}: the file has more than {_MOST_TEXT} bytes; give large matrices as .npz or .h5.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: the file is missing; a subject folder needs it.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}); check its permissions.") from None


def read_cells(path: Path) -> list[list[str]]:
    """Read a table as text, every row as long as the first.

    ``.tsv`` has tabs between columns, ``.csv`` commas, ``.txt`` blanks or tabs (several count as one); lines that
    begin with ``#`` are comments.
    """
    text = read_text(path)
    delimiter = _DELIMITERS.get(path.suffix.lower(), ",")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    if delimiter is None:
        rows = [line.split() for line in lines]
    else:
        with reading(path, "a table"):
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    while rows and not any(rows[-1]):  # blank lines at the end do no harm; elsewhere they would shift rows
        rows.pop()
    if not rows:
        raise InputError(f"{path}: the file is empty; give a table.")
    width = len(rows[0])
    if width == 1 and delimiter is not None:
        for sign, called in _SIGNS.items():
            if sign != delimiter and sign in rows[0][0]:
                raise InputError(f"{path}: columns look separated by {called}; separate them by {_SIGNS[delimiter]}.")
    for k, row in enumerate(rows):
        if delimiter != "," and (found := next((cell for cell in row if _DECIMAL_COMMA.match(cell)), None)) is not None:
            raise InputError(f"{path}, row {k + 1}: '{found}' has a comma as its decimal sign; write points.")
        if len(row) != width:
            raise InputError(
                f"{path}, row {k + 1}: {len(row)} cells were found, {width} were expected (as in row 1); "
                "complete the row."
            )
    return rows


def is_number(cell: str) -> bool:
    """Say whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def number_table(
    path: Path, rows: list[list[str]], first_row: int, columns: Iterable[str], *, missing: bool = False
) -> Float:
    """Turn cells into finite numbers, or name the first that is none (rows count from 1).

    With ``missing``, the cells of a row that all hold ``n/a`` become NaN.
    """
    if not rows:
        raise InputError(f"{path}: there is no row under the header; give the numbers.")
    if missing:
        rows = [["nan"] * len(row) if row and all(cell in _MISSING for cell in row) else row for row in rows]
    try:
        values = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
        there = values[~np.isnan(values).all(axis=1)] if missing else values
        if np.isfinite(there).all():
            return values
    except ValueError:
        pass
    for k, row in enumerate(rows):
        if missing and all(cell == "nan" for cell in row):
            continue
        for name, cell in zip(columns, row, strict=True):
            if not (is_number(cell) and math.isfinite(float(cell))):
                found = f"'{cell}' is not a finite number" if cell else "the cell is empty"
                raise InputError(f"{path}, row {first_row + k}, column '{name}': {found}; give a number.")
    raise AssertionError("a cell that is not a number was not found again")


def unique_names(path: Path, names: list[str], where: str) -> list[str]:
    """Check that no region name is empty or there twice."""
    for k, name in enumerate(names):
        if not name:
            raise InputError(f"{path}, {where}: region name {k + 1} is empty; give every region a name.")
    if len(set(names)) < len(names):
        name = next(name for k, name in enumerate(names) if name in names[:k])
        raise InputError(f"{path}, {where}: region '{name}' is there twice; keep one.")
    return names


@dataclass(frozen=True)
class LabelTable:
    """What the values of a label image, or the rows of a matrix, are called.

    Attributes
    ----------
    names
        Label value -> region name, in the order of the table; several values may share a name.
    laminar
        Region name -> six-layered neocortex or not, where the table says.
    hemisphere
        Region name -> "L" or "R", where the table says.

    Examples
    --------
    >>> LabelTable({1: "a", 2: "b", 3: "b"}).regions
    ('a', 'b')
    """

    names: Mapping[int, str]
    laminar: Mapping[str, bool] = field(default_factory=dict)
    hemisphere: Mapping[str, str] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        """The names, each once, in the order of the table."""
        return tuple(dict.fromkeys(self.names.values()))


def read_labels(path: str | os.PathLike[str]) -> LabelTable:
    """Read a table of labels.

    A BIDS ``_dseg.tsv`` or any ``.tsv``/``.csv`` with the columns ``index`` and ``name`` (and, if there, ``laminar``
    with true/false or 1/0 and ``hemisphere`` with L or R), or a ``.txt`` as FreeSurfer writes it: value, name and
    anything behind. Value 0 is outside and is left out. A ``.tsv``/``.csv`` with a ``name`` and no ``index`` counts its
    rows from 1; a ``.txt`` of names alone does as well.

    Raises
    ------
    InputError
        With the file, the row and the column.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "labels.tsv"
    >>> _ = place.write_text("index\\tname\\n1\\tInsula_L\\n2\\tInsula_R\\n")
    >>> read_labels(place).regions
    ('Insula_L', 'Insula_R')
    """
    path = Path(path)
    file_size(path)
    if path.suffix.lower() not in (".tsv", ".csv", ".txt"):
        raise InputError(f"{path}: a table of labels is a .tsv, .csv or .txt file; give one of these.")
    if path.suffix.lower() == ".txt":
        return _plain_labels(path)
    cells = read_cells(path)
    header = [cell.lower().strip() for cell in cells[0]]
    name_at = next((header.index(c) for c in _NAME if c in header), None)
    if name_at is None:
        raise InputError(
            f"{path}, row 1: there is no column 'name'{nearest('name', header)}; found are {', '.join(header[:8])}."
        )
    index_at = next((header.index(c) for c in _INDEX if c in header), None)
    names: dict[int, str] = {}
    laminar: dict[str, bool] = {}
    hemisphere: dict[str, str] = {}
    for k, row in enumerate(cells[1:], start=2):
        value = _label_value(path, k, row[index_at], header[index_at]) if index_at is not None else k - 1
        name = row[name_at]
        if not name:
            raise InputError(f"{path}, row {k}: the name is empty; give every label a name.")
        if value == 0:
            continue
        if value in names:
            raise InputError(f"{path}, row {k}: label {value} is there twice ('{names[value]}' before); keep one.")
        names[value] = name
        if "laminar" in header:
            said = row[header.index("laminar")].lower()
            if said not in _TRUTH:
                raise InputError(f"{path}, row {k}, column 'laminar': '{said}' was found; give true or false.")
            if laminar.get(name, _TRUTH[said]) != _TRUTH[said]:
                raise InputError(f"{path}, row {k}: '{name}' was {not _TRUTH[said]} for laminar before; make it one.")
            laminar[name] = _TRUTH[said]
        if "hemisphere" in header and row[header.index("hemisphere")][:1].upper() in ("L", "R"):
            hemisphere[name] = row[header.index("hemisphere")][:1].upper()
    if not names:
        raise InputError(f"{path}: there is no label under the header; give one row per label.")
    return LabelTable(names, laminar, hemisphere)


def _label_value(path: Path, row: int, cell: str, column: str) -> int:
    if not is_number(cell) or not math.isfinite(float(cell)) or float(cell) != int(float(cell)) or float(cell) < 0:
        raise InputError(
            f"{path}, row {row}, column '{column}': '{cell}' was found, but a label is a whole number >= 0."
        )
    return int(float(cell))


def _plain_labels(path: Path) -> LabelTable:
    names: dict[int, str] = {}
    lines = [line.split() for line in read_text(path).splitlines()]
    rows = [(k, words) for k, words in enumerate(lines, start=1) if words and not words[0].startswith("#")]
    if not rows:
        raise InputError(f"{path}: there is no label in it; give one row per label.")
    alone = all(len(words) == 1 for _, words in rows)
    for place, (k, words) in enumerate(rows, start=1):
        if not alone and len(words) < 2:
            raise InputError(f"{path}, row {k}: one word was found, but a label value and a name are needed; add it.")
        value = place if alone else _label_value(path, k, words[0], "1")
        if value == 0:
            continue
        if value in names:
            raise InputError(f"{path}, row {k}: label {value} is there twice ('{names[value]}' before); keep one.")
        names[value] = words[0] if alone else words[1]
    return LabelTable(names)
