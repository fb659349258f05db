"""BIDS folders without images: parcellated series (XCP-D) and a connectome are a person too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import xarray as xr

from twinbrain.data.bids_find import common_regions, find_connectome, find_matrix, repetition_time, selected
from twinbrain.data.bids_names import BidsFile, pick
from twinbrain.data.bids_options import Work
from twinbrain.data.bids_pet import read_density_table
from twinbrain.data.preparation import prepare_run
from twinbrain.data.series_files import own_repetition_time, read_series_file
from twinbrain.data.subject import Subject, is_laminar
from twinbrain.data.tables import LabelTable, read_labels
from twinbrain.errors import InputError, nearest

__all__ = ["parcellated_runs", "read_parcellated"]


def parcellated_runs(work: Work) -> dict[str, BidsFile]:
    """Find series of one parcellation, by run: ``*_seg-A_stat-mean_timeseries.tsv`` or ``*.ptseries.nii``.

    Raises
    ------
    InputError
        If there are several parcellations and none was chosen.
    """
    found = [
        f
        for f in pick(work.files, ("timeseries", "bold", "boldmap"), (".tsv", ".ptseries.nii"))
        if "seg" in f.entities or "atlas" in f.entities
    ]
    if not found:
        return {}
    names = sorted({f.entities.get("seg", f.entities.get("atlas", "")) for f in found})
    chosen = None if work.options.atlas is None else str(work.options.atlas)
    if chosen is None and len(names) > 1:
        raise InputError(
            f"{work.root}: series of {len(names)} parcellations were found ({', '.join(names)}); say which with "
            "atlas='...'."
        )
    if chosen is not None and chosen not in names:
        raise InputError(
            f"{work.root}: there are no series of the parcellation '{chosen}'{nearest(chosen, names)}; there is "
            f"{', '.join(names)}."
        )
    work.atlas = chosen or names[0]
    runs: dict[str, BidsFile] = {}
    for file in (f for f in found if f.entities.get("seg", f.entities.get("atlas")) == work.atlas):
        parts = [file.entities.get("task", "bold")]
        parts += [f"{key}-{file.entities[key]}" for key in ("acq", "dir", "run") if key in file.entities]
        name = "_".join(parts)
        if name in runs:
            raise InputError(f"{file.path}: {runs[name].path.name} holds the same run '{name}'; keep one of the two.")
        runs[name] = file
    return runs


def read_parcellated(work: Work, runs: dict[str, BidsFile], name: str) -> Subject:
    """Read a person of parcellated series and a connectome; volumes of grey matter are not known then.

    Raises
    ------
    InputError
        As :func:`twinbrain.data.bids.read_bids`.
    """
    options = work.options
    if options.preparation.needs_confounds:
        raise InputError(
            f"{work.root}: its series are parcellated, so their confounds were dealt with before; choose "
            "confounds='none' and "
            "no scrub_mm."
        )
    how = replace(options.preparation, percent_signal_change=False)
    series: dict[str, xr.DataArray] = {}
    for run, file in runs.items():
        seconds = own_repetition_time(file.path)
        made = read_series_file(file.path, repetition_time_s=repetition_time(work, file) if seconds is None else None)
        series[run], steps = prepare_run(made, how, None, str(file.path))
        work.took(file.path, f"bold {run}")
        work.notes |= {f"bold {run} step {k}": step for k, step in enumerate(steps, start=1)}
    first, names = next((r, [str(n) for n in s["region"].values]) for r, s in series.items())
    for run, made in series.items():
        odd = set(names) ^ {str(n) for n in made["region"].values}
        if odd:
            raise InputError(
                f"{runs[run].path}: region '{sorted(odd)[0]}' is in only one of the runs '{first}' and '{run}'; give "
                "runs of "
                "one parcellation."
            )
    table = LabelTable(dict(enumerate(names, start=1)))
    if options.labels is not None:
        given = read_labels(options.labels)
        table = LabelTable(table.names, given.laminar, given.hemisphere)
    work.notes["atlas labels"] = work.notes[f"bold {first}"]
    connectome = find_connectome(work, table)
    if connectome is None:
        raise InputError(
            f"{work.root}: there is no connectome of participant '{work.label}' (a file ..._connmatrix.csv or "
            "..._relmat.tsv); give connectome=, a file with one row and column per region."
        )
    regions = common_regions(work, table, connectome)
    lengths = find_matrix(work, "the tract lengths", options.lengths, ("length",), table, None)
    if not table.laminar:
        work.notes["laminar"] = "told from the names of the regions (no table of labels with a column 'laminar')"
    work.notes["grey matter"] = "not known: every region counts the same"
    bold: dict[str, Any] = {run: made.sel(region=list(regions)) for run, made in series.items()}
    return Subject.from_arrays(
        selected(connectome, regions),
        regions,
        bold,
        lengths=None if lengths is None else selected(lengths, regions),
        laminar=[table.laminar.get(n, is_laminar(n)) for n in regions],
        synaptic_density=read_density_table(work, regions),
        name=name,
        provenance=work.notes,
        connectome_units=options.connectome_units or work.notes.pop("connectome units", "arbitrary"),
    )
