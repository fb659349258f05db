"""What happened during a run (BIDS events) and what people did or answered (behavioural tables)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from twinbrain.data.safety import file_size
from twinbrain.data.tables import is_number, read_cells
from twinbrain.errors import InputError, nearest

__all__ = ["read_behaviour", "read_events"]

_MISSING = ("n/a", "", "NaN", "nan")


def read_events(path: str | os.PathLike[str], run_s: float | None = None) -> pd.DataFrame:
    """Read a BIDS ``events.tsv``.

    Parameters
    ----------
    path
        Table with the columns ``onset`` and ``duration`` in seconds and, usually, ``trial_type``; other columns are
        kept, as numbers where every cell is one.
    run_s
        Length of the run in seconds: onsets beyond it are refused (they are in milliseconds, or of another run).

    Returns
    -------
    pandas.DataFrame
        Sorted by onset; ``n/a`` is NaN.

    Raises
    ------
    InputError
        With the row and the column.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "sub-01_task-x_events.tsv"
    >>> _ = place.write_text("onset\\tduration\\ttrial_type\\n10\\t2\\ttone\\n0.5\\t2\\tpause\\n")
    >>> read_events(place)["trial_type"].tolist()
    ['pause', 'tone']
    """
    path = Path(path)
    table = _table(path)
    for column in ("onset", "duration"):
        if column not in table.columns:
            raise InputError(
                f"{path}, row 1: the column '{column}' is missing{nearest(column, table.columns)}; BIDS events have "
                "onset and duration in seconds."
            )
        if not pd.api.types.is_numeric_dtype(table[column]):
            row, cell = next((k, c) for k, c in enumerate(table[column]) if isinstance(c, str) and not is_number(c))
            raise InputError(f"{path}, row {row + 2}, column '{column}': '{cell}' is not a number; give seconds.")
    onset, duration = table["onset"].to_numpy(float), table["duration"].to_numpy(float)
    if not np.isfinite(onset).all():
        row = int(np.flatnonzero(~np.isfinite(onset))[0])
        raise InputError(f"{path}, row {row + 2}, column 'onset': n/a was found; give the onset in seconds.")
    if (duration < 0).any():
        row = int(np.flatnonzero(duration < 0)[0])
        raise InputError(
            f"{path}, row {row + 2}, column 'duration': {duration[row]:g} was found; give 0 or more seconds."
        )
    if run_s is not None and (onset > run_s).any():
        row = int(np.flatnonzero(onset > run_s)[0])
        hint = "in milliseconds" if onset[row] > 100 * run_s else "of another run"
        raise InputError(
            f"{path}, row {row + 2}, column 'onset': {onset[row]:g} was found, but the run ends at {run_s:g} s; the "
            f"onsets may be {hint}: give seconds from the first volume of this run."
        )
    return table.sort_values("onset", kind="stable").reset_index(drop=True)


def read_behaviour(path: str | os.PathLike[str], key: str | None = None) -> pd.DataFrame:
    """Read a behavioural or phenotype table (BIDS ``participants.tsv``, ``_beh.tsv``, ``phenotype/*.tsv``, csv).

    Parameters
    ----------
    path
        Header and one row per trial or person.
    key
        Column that must be there and hold each value once, for example ``"participant_id"``; it becomes the index.

    Raises
    ------
    InputError
        With the row and the column.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "participants.tsv"
    >>> _ = place.write_text("participant_id\\tage\\nsub-01\\t31\\nsub-02\\tn/a\\n")
    >>> float(read_behaviour(place, "participant_id").loc["sub-01", "age"])
    31.0
    """
    path = Path(path)
    table = _table(path)
    if key is None:
        return table
    if key not in table.columns:
        raise InputError(f"{path}, row 1: the column '{key}' is missing{nearest(key, table.columns)}; add it.")
    twice = table[key].duplicated()
    if twice.any():
        row = int(np.flatnonzero(twice.to_numpy())[0])
        raise InputError(f"{path}, row {row + 2}, column '{key}': '{table[key].iloc[row]}' is there twice; keep one.")
    return table.set_index(key)


def _table(path: Path) -> pd.DataFrame:
    file_size(path)
    if path.suffix.lower() not in (".tsv", ".csv"):
        raise InputError(f"{path}: a table is a .tsv or .csv file; give one of these.")
    cells = read_cells(path)
    header = cells[0]
    if all(is_number(cell) for cell in header):
        raise InputError(f"{path}, row 1: numbers were found, but the first row must hold the names of the columns.")
    if len(set(header)) < len(header) or "" in header:
        name = next((n for k, n in enumerate(header) if n in header[:k]), "")
        raise InputError(f"{path}, row 1: column '{name}' is there twice or has no name; give each its own name.")
    columns: dict[str, object] = {}
    for k, name in enumerate(header):
        values = [row[k] for row in cells[1:]]
        if all(v in _MISSING or is_number(v) for v in values):
            columns[name] = np.array([np.nan if v in _MISSING else float(v) for v in values], dtype=np.float64)
        else:
            columns[name] = np.array([None if v in _MISSING else v for v in values], dtype=object)
    return pd.DataFrame(columns)
