"""``export(folder, to)``: take the results of a study away in the formats of other tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinbrain.errors import InputError, nearest
from twinbrain.export.folder import new_folder

if TYPE_CHECKING:
    from twinbrain.brain import Brain
    from twinbrain.experiment.prepare import Prepared
    from twinbrain.store import Result

__all__ = ["FORMATS", "export"]


def export(
    folder: str | os.PathLike[str],
    to: str,
    out: str | os.PathLike[str] | None = None,
    *,
    neurons: int | None = None,
    max_synapses: int = 20_000_000,
) -> Path:
    """Write the results of a study in the format of other tools, into a folder of their own.

    Parameters
    ----------
    folder
        A results folder.
    to
        ``"bids"``: derivatives (series, matrices, sidecars). ``"nifti"``, ``"cifti"``, ``"gifti"``: maps and series in
        space. ``"sonata"``: the twin's network and its recorded spikes. ``"netcdf"``: every array in one file.
        ``"neo"``: a MATLAB file that neo and elephant read. ``"tables"``: every array as CSV. ``"pynn"``: populations,
        parameters and connections.
    out
        A path that does not exist yet. Default: the results folder's name followed by ``-`` and the format.
    neurons
        ``sonata`` and ``pynn``: the same network with so many neurons instead of the twin's; without its spikes.
    max_synapses
        ``sonata`` and ``pynn``: refuse larger networks.

    Returns
    -------
    pathlib.Path
        The new folder. It appears whole or not at all, with the checksum of every file in ``checksums.sha256``.

    Raises
    ------
    InputError
        If the format is unknown, the results are missing or damaged, hold nothing for this format, or the place
        cannot be written.

    Examples
    --------
    >>> export("no/such/folder", "bids")
    Traceback (most recent call last):
    ...
    twinbrain.errors.InputError: no/such/folder: there is no such folder; expected a folder with results
    """
    from twinbrain.store import load

    if to not in FORMATS:
        raise InputError(f"there is no format '{to}'{nearest(to, FORMATS)}; possible are {', '.join(FORMATS)}")
    if neurons is not None and to not in ("sonata", "pynn"):
        raise InputError(f"a number of neurons is for 'sonata' and 'pynn'; leave it out for '{to}'")
    result = load(Path(folder))
    if "twin" not in result.groups:
        raise InputError(f"{folder}: the study is not finished (no free run); say 'twinbrain resume {folder}' first")
    place = Path(out) if out is not None else Path(folder).absolute().with_name(f"{Path(folder).resolve().name}-{to}")
    with new_folder(place) as new:
        FORMATS[to](_Job(result, neurons, max_synapses), new)
    return place


class _Job:
    """Results, and what they were made of as far as it is asked for."""

    def __init__(self, result: Result, neurons: int | None, max_synapses: int) -> None:
        self.result, self.neurons, self.max_synapses = result, neurons, max_synapses
        self.groups = result.groups
        self.person = str(result.provenance.get("subject", {}).get("person", "person"))
        self.run = str(result.provenance.get("subject", {}).get("run", "rest"))

    def prepared(self) -> Prepared:
        """Read the person again and specify the networks, as the study says."""
        from twinbrain.config import read_study
        from twinbrain.experiment.prepare import prepare

        return prepare(read_study(self.result.folder / "study.toml"))

    def voxels(self) -> Brain:
        """The brain with its voxels, for drawing in space."""
        from twinbrain.brain import Brain
        from twinbrain.config import read_study

        ready = self.prepared()
        if ready.brain.level == "voxel":
            return ready.brain
        if ready.person.voxels is None and ready.person.atlas is None:
            raise InputError(
                f"'{ready.person.name}' has no label image and no voxels, so regions cannot be drawn in space; export "
                "to 'bids', 'netcdf' or 'tables' instead"
            )
        study = read_study(self.result.folder / "study.toml")
        return Brain.from_subject(ready.person, level="voxel", voxel_mm=study.brain.voxel_mm)

    def maps(self, brain: Brain) -> dict[str, np.ndarray]:
        """Every quantity that has one value per voxel or region, (V,)."""
        from twinbrain.export.bids import regional_rate
        from twinbrain.export.images import paint

        twin = self.groups["twin"]
        found = {
            "greymatter": brain.grey_matter,
            "indegreefactor": brain.in_degree_factor,
            "laminar": brain.laminar.astype(np.float64),
        }
        rate = _voxel_rate(twin, brain)
        if rate is None:
            rate = paint(brain, regional_rate(twin).mean("time").sel(region=list(brain.regions)).values)
        found["firingrate"] = rate
        found["bold"] = paint(brain, twin["bold"].mean("time").sel(region=list(brain.regions)).values)
        drive = self.groups["fit"]["drive"].mean("time") if "fit" in self.groups else None
        if drive is not None:
            named = {str(k): float(v) for k, v in zip(drive["input"].values, drive.values, strict=True)}
            found["drive"] = paint(brain, [named.get(name, 0.0) for name in brain.regions])
        return found


def _voxel_rate(twin: Any, brain: Brain) -> np.ndarray | None:
    """Mean rate of each voxel's neurons, if the free run had this brain's voxels."""
    voxel = np.array([str(label).rpartition(":")[0] for label in twin["population"].values])
    place = {name: k for k, name in enumerate(brain.voxels)}
    if not all(name in place for name in voxel):
        return None
    row = np.array([place[name] for name in voxel])
    size = twin["pop_size"].values.astype(np.float64)
    mean = twin["firing_rate"].mean("time").values
    total = np.bincount(row, weights=size, minlength=len(brain.voxels))
    return np.bincount(row, weights=size * mean, minlength=len(brain.voxels)) / np.maximum(total, 1)


def _bids(job: _Job, folder: Path) -> None:
    from twinbrain.export.bids import write_bids

    write_bids(job.groups, folder, person=job.person, run=job.run, scores=job.result.scores)


def _nifti(job: _Job, folder: Path) -> None:
    import nibabel as nib

    from twinbrain.export.images import label_image, paint, to_nifti

    brain = job.voxels()
    stem = _stem(job)
    for name, values in job.maps(brain).items():
        nib.save(to_nifti(brain, values), folder / f"{stem}_desc-{name}_map.nii.gz")
    image, table = label_image(brain)
    nib.save(image, folder / f"{stem}_desc-regions_dseg.nii.gz")
    table.to_csv(folder / f"{stem}_desc-regions_dseg.tsv", sep="\t", index=False)
    series = job.groups["twin"]["bold"].transpose("time", "region").sel(region=list(brain.regions))
    seconds = float(np.diff(series["time"].values).mean())
    bold = to_nifti(brain, paint(brain, series.values), repetition_time_s=seconds)
    nib.save(bold, folder / f"{stem}_desc-twin_bold.nii.gz")


def _cifti(job: _Job, folder: Path) -> None:
    import nibabel as nib

    from twinbrain.export.images import to_cifti, to_parcels

    brain, stem = job.voxels(), _stem(job)
    nib.save(to_cifti(brain, job.maps(brain)), folder / f"{stem}_desc-maps.dscalar.nii")
    series = job.groups["twin"]["bold"].transpose("time", "region").sel(region=list(brain.regions))
    seconds = float(np.diff(series["time"].values).mean())
    nib.save(
        to_parcels(brain.regions, series.values, seconds=seconds, brain=brain), folder / f"{stem}_bold.ptseries.nii"
    )
    matrix = job.groups["brain"]["connectome"].sel(target=list(brain.regions), source=list(brain.regions))
    nib.save(to_parcels(brain.regions, matrix.values, brain=brain), folder / f"{stem}_connectome.pconn.nii")


def _gifti(job: _Job, folder: Path) -> None:
    import nibabel as nib

    from twinbrain.export.images import to_gifti

    brain, stem = job.voxels(), _stem(job)
    for name, values in job.maps(brain).items():
        for side, image in to_gifti(brain, values, name).items():
            nib.save(image, folder / f"{stem}_hemi-{side}_space-fsaverage5_desc-{name}.shape.gii")


def _sonata(job: _Job, folder: Path) -> None:
    from twinbrain.export.sonata import write_sonata, write_spikes

    network = job.prepared().twin
    if job.neurons is not None:
        network = network.scaled(neurons=job.neurons)
    write_sonata(network, folder, seed=network.seed, max_synapses=job.max_synapses)
    twin = job.groups["twin"]
    if job.neurons in (None, int(twin.attrs["neurons"])) and "spike_time_ms" in twin:
        write_spikes(twin["spike_time_ms"].values, twin["spike_neuron"].values, folder / "spikes.h5")


def _pynn(job: _Job, folder: Path) -> None:
    from twinbrain.export.tables import write_connections

    network = job.prepared().twin
    if job.neurons is not None:
        network = network.scaled(neurons=job.neurons)
    write_connections(network, folder, max_synapses=job.max_synapses)


def _netcdf(job: _Job, folder: Path) -> None:
    from twinbrain.export.tables import write_netcdf

    write_netcdf({name: job.groups[name].load() for name in job.groups}, folder / "results.nc")


def _neo(job: _Job, folder: Path) -> None:
    from twinbrain.export.tables import to_neo, write_neo

    write_neo(to_neo(job.groups["twin"].load()), folder / "twin.mat")


def _tables(job: _Job, folder: Path) -> None:
    from twinbrain.export.tables import write_tables

    write_tables({name: job.groups[name].load() for name in job.groups}, folder)


def _stem(job: _Job) -> str:
    from twinbrain.export.bids import bids_label

    return f"sub-{bids_label(job.person)}"


#: Format -> what writes it.
FORMATS: dict[str, Callable[[_Job, Path], None]] = {
    "bids": _bids,
    "nifti": _nifti,
    "cifti": _cifti,
    "gifti": _gifti,
    "sonata": _sonata,
    "netcdf": _netcdf,
    "neo": _neo,
    "tables": _tables,
    "pynn": _pynn,
}
