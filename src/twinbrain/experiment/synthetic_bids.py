"""Write a synthetic person as a BIDS folder, with the derivatives that real pipelines leave."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.errors import InputError
from twinbrain.experiment.synthetic import SyntheticPerson, synthetic_person
from twinbrain.experiment.synthetic_space import block_mean

__all__ = ["synthetic_bids"]

Float = npt.NDArray[np.float64]

_SPACE = "MNI152NLin2009cAsym"
_NOISE_PERCENT = 1.0
_DRIFT_PERCENT = 1.0
_MOTION_PERCENT = 0.5
_README = """\
A synthetic person, made by a program: no one was scanned. Geometry is that of the ICBM 152 (2009a) template; everything
else follows stated rules with seed {seed}. sourcedata/truth holds what was planted: regions.tsv (volumes, synaptic
density, centres), the drive and the regions' BOLD without noise; connectomes and lengths under derivatives are exact.
The files under derivatives look as fMRIPrep, QSIRecon and a PET pipeline leave theirs.
"""


def synthetic_bids(
    folder: str | os.PathLike[str],
    *,
    name: str = "01",
    **options: Any,
) -> SyntheticPerson:
    """Write a complete synthetic person as a BIDS folder, with the truth beside it.

    The folder holds ``derivatives/fmriprep`` (grey-matter probability; BOLD of a ``rest`` and a ``blocks`` run with
    json, brain mask and confounds), ``derivatives/atlas``, ``derivatives/qsirecon`` (region and voxel connectome,
    lengths), ``derivatives/petprep`` (regional table and map), ``sub-NAME/func`` (events) and ``sourcedata/truth``.
    BOLD is the planted one on a baseline near 9,000, plus drift, motion, a global physiological signal and white
    noise (1 %). The folder appears whole or not at all; the same arguments give the same bytes.

    Parameters
    ----------
    folder
        A path that does not exist yet, or an empty folder; its parent must exist.
    name
        The person's label.
    options
        Everything else that :func:`twinbrain.experiment.synthetic.synthetic_person` takes, such as ``atlas``,
        ``small``, ``volumes`` and ``seed``.

    Returns
    -------
    SyntheticPerson
        What was planted.

    Raises
    ------
    InputError
        If the person cannot be made, or something is in the folder already.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "bids"
    >>> person = synthetic_bids(place, small=True, voxels=300, volumes=20)
    >>> sorted(path.name for path in (place / "derivatives").iterdir())
    ['atlas', 'fmriprep', 'petprep', 'qsirecon']
    """
    folder = Path(folder)
    if not name.isalnum():
        raise InputError(f"name is '{name}', but a BIDS label of letters and digits is needed, such as '01'")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: there is something already; give a path that does not exist yet")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder}: the parent folder does not exist; make it first")
    person = synthetic_person(name=name, **options)
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.absolute().parent, prefix=f".{folder.name}-"))
        try:
            temporary.chmod(0o755)
            _Writer(person, temporary).write()
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{folder}: the folder cannot be written ({error.strerror or error}); choose one with room"
        ) from None
    return person


class _Writer:
    """One person's files, below one root."""

    def __init__(self, person: SyntheticPerson, root: Path) -> None:
        self.person, self.root = person, root
        self.sub = f"sub-{person.name}"
        self.generator = np.random.default_rng([person.seed, 20241])

    def write(self) -> None:
        """Write everything."""
        person = self.person
        self.text("README", _README.format(seed=person.seed))
        self.description("", "raw", "Synthetic person")
        self.table("participants.tsv", ["participant_id"], [[self.sub]])
        for name in ("fmriprep", "atlas", "qsirecon", "petprep"):
            self.description(f"derivatives/{name}", "derivative", f"Synthetic {name} outputs")
        self.anatomy()
        self.atlas()
        self.diffusion()
        self.pet()
        self.function()
        self.truth()

    # ---- files ----------------------------------------------------------------------------------------------

    def path(self, relative: str) -> Path:
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, relative: str, content: str) -> None:
        self.path(relative).write_text(content, encoding="utf-8")

    def json(self, relative: str, content: Mapping[str, Any]) -> None:
        self.text(relative, json.dumps(content, indent=2) + "\n")

    def table(self, relative: str, head: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
        cut = "," if relative.endswith(".csv") else "\t"
        lines = [cut.join(head), *(cut.join(_cell(x) for x in row) for row in rows)]
        self.text(relative, "\n".join(lines) + "\n")

    def image(self, relative: str, values: npt.NDArray[Any], affine: Float, seconds: float | None = None) -> None:
        import nibabel as nib

        made = nib.Nifti1Image(values, affine)
        made.set_sform(affine, code=4)
        made.set_qform(affine, code=4)
        made.header.set_xyzt_units("mm", "sec")
        if seconds is not None:
            made.header.set_zooms((*made.header.get_zooms()[:3], seconds))
        nib.save(made, self.path(relative))

    def description(self, folder: str, kind: str, title: str) -> None:
        from twinbrain.store.origin import twinbrain_version

        about: dict[str, Any] = {"Name": title, "BIDSVersion": "1.9.0", "DatasetType": kind, "License": "CC0"}
        if kind == "derivative":
            about["GeneratedBy"] = [{"Name": "twinbrain synthetic", "Version": twinbrain_version()}]
        self.json(str(Path(folder) / "dataset_description.json"), about)

    # ---- parts ----------------------------------------------------------------------------------------------

    def anatomy(self) -> None:
        person, place = self.person, f"derivatives/fmriprep/{self.sub}/anat/{self.sub}_space-{_SPACE}"
        self.image(f"{place}_label-GM_probseg.nii.gz", person.grey_matter_map, person.space.affine)
        white = np.where(person.grey_matter_map < 1, person.space.white_matter, 0).astype(np.float32)
        self.image(f"{place}_label-WM_probseg.nii.gz", white, person.space.affine)

    def atlas(self) -> None:
        space = self.person.space
        place = f"derivatives/atlas/atlas-{space.atlas}"
        self.image(f"{place}_space-{_SPACE}_dseg.nii.gz", space.labels, space.affine)
        rows = zip(
            range(1, len(space.names) + 1), space.names, space.laminar.astype(int), space.hemisphere, strict=True
        )
        self.table(f"{place}_dseg.tsv", ["index", "name", "laminar", "hemisphere"], rows)

    def diffusion(self) -> None:
        from scipy.sparse import csr_matrix, save_npz

        person = self.person
        names = person.regions
        place = f"derivatives/qsirecon/{self.sub}/dwi/{self.sub}_space-{_SPACE}_seg-{person.space.atlas}_desc"
        for what, matrix in (("streamlinecount", person.connectome), ("length", person.lengths)):
            rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
            self.table(f"{place}-{what}_connmatrix.csv", ["", *names], rows)
        counts = csr_matrix(person.voxel_connectome).astype(np.int32)
        save_npz(self.path(f"{place}-voxel_connmatrix.npz"), counts)
        where = zip(person.voxel_positions.tolist(), person.voxel_region.tolist(), strict=True)
        self.table(f"{place}-voxel_voxels.tsv", ["x", "y", "z", "region"], ([*p, names[r]] for p, r in where))

    def pet(self) -> None:
        person = self.person
        place = f"derivatives/petprep/{self.sub}/pet/{self.sub}_trc-UCBJ"
        about = {
            "TracerName": "UCB-J",
            "TracerRadionuclide": "C11",
            "Units": "unitless",
            "MeasurementType": "distribution volume ratio",
            "ReferenceRegion": "centrum semiovale",
        }
        table = f"{place}_seg-{person.space.atlas}_stat-mean_meas-DVR_pet"
        rows = zip(person.regions, person.synaptic_density.tolist(), strict=True)
        self.table(f"{table}.tsv", ["name", "value"], rows)
        self.json(f"{table}.json", about)
        values = np.zeros(person.voxel_shape, np.float32)
        mask, row = self.points()
        values[mask] = np.where(row >= 0, person.voxel_density[row], 0.4)  # white matter binds little
        self.image(f"{place}_space-{_SPACE}_meas-DVR_pet.nii.gz", values, person.voxel_affine)
        self.json(f"{place}_space-{_SPACE}_meas-DVR_pet.json", about)

    def points(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Return the brain mask on the voxel grid, and of each point in it the voxel whose signal it carries, or -1.

        A point with grey matter that is no voxel carries the signal of the nearest voxel, as tissue does.
        """
        from scipy.spatial import cKDTree

        person = self.person
        block = round(person.voxel_mm / person.space.spacing)
        mask = block_mean(np.maximum(person.grey_matter_map, person.space.white_matter), block) > 0.3
        mask[tuple(person.voxel_index.T)] = True
        grey = block_mean(np.where(person.space.labels > 0, person.grey_matter_map, 0).astype(np.float32), block)
        grey[tuple(person.voxel_index.T)] = 1
        places = np.argwhere(mask)
        nearest: Any = cKDTree(person.voxel_index).query(places)
        return mask, np.where(grey[mask] > 0.02, nearest[1], -1)

    def function(self) -> None:
        person = self.person
        mask, row = self.points()
        baseline = (
            (9000.0 + 600.0 * self.generator.standard_normal(int(mask.sum()))).clip(6000, 12000).astype(np.float32)
        )
        for run, bold in person.bold.items():
            stem = f"derivatives/fmriprep/{self.sub}/func/{self.sub}_task-{run}"
            series, confounds = self.scanned(bold, row, baseline)
            values = np.zeros((*person.voxel_shape, len(bold)), np.int16)
            values[mask] = series
            seconds = person.repetition_time_s
            self.image(f"{stem}_space-{_SPACE}_desc-preproc_bold.nii.gz", values, person.voxel_affine, seconds)
            about = {"RepetitionTime": seconds, "TaskName": run, "SkullStripped": True, "Units": "arbitrary"}
            self.json(f"{stem}_space-{_SPACE}_desc-preproc_bold.json", about)
            self.image(f"{stem}_space-{_SPACE}_desc-brain_mask.nii.gz", mask.astype(np.uint8), person.voxel_affine)
            self.table(f"{stem}_desc-confounds_timeseries.tsv", list(confounds), zip(*confounds.values(), strict=True))
            if run in person.events:
                place = f"{self.sub}/func/{self.sub}_task-{run}_events.tsv"
                self.table(place, ["onset", "duration", "trial_type"], person.events[run])

    def scanned(
        self, bold: npt.NDArray[np.float32], row: npt.NDArray[np.int64], baseline: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.int16], dict[str, list[object]]]:
        """Add what a scanner adds; return the series (points in the mask, time) and the confounds table."""
        random, volumes, n = self.generator, len(bold), len(row)
        time = np.arange(volumes)
        motion = np.cumsum(0.02 * random.standard_normal((volumes, 6)), axis=0)
        motion[:, 3:] *= 0.01  # rotations in rad
        motion[volumes // 2] += [0.6, 0.3, 0.0, 0.0, 0.0, 0.0]  # one jerk
        moved = np.abs(np.diff(motion, axis=0)) @ np.array([1, 1, 1, 50, 50, 50.0])  # Power et al. 2012, 50 mm sphere
        breath = np.sin(2 * np.pi * 0.03 * self.person.repetition_time_s * time + 1.0) * (
            1 + 0.3 * random.standard_normal(volumes)
        )
        order = max(1, int(2 * volumes * self.person.repetition_time_s / 128))  # fMRIPrep's 128 s high-pass set
        cosines = np.cos(np.pi * np.outer(time + 0.5, np.arange(1, order + 1)) / volumes)
        movement = (motion - motion.mean(axis=0)) / motion.std(axis=0)
        percent = np.zeros((n, volumes), np.float32)
        inside = row >= 0
        percent[inside] = bold.T[row[inside]]
        percent += _DRIFT_PERCENT / np.sqrt(order) * _mix(random, n, cosines)
        percent += _MOTION_PERCENT / np.sqrt(6) * _mix(random, n, movement)
        percent += 0.4 * np.abs(random.standard_normal((n, 1), dtype=np.float32)) * breath.astype(np.float32)
        percent += np.float32(_NOISE_PERCENT) * random.standard_normal((n, volumes), dtype=np.float32)
        series = np.rint(baseline[:, None] * (1 + percent / 100)).astype(np.int16)
        mean = series.mean(axis=0, dtype=np.float64)
        table: dict[str, list[object]] = {
            "csf": (9000 * (1 + breath / 100) + 5 * random.standard_normal(volumes)).tolist(),
            "white_matter": series[~inside].mean(axis=0, dtype=np.float64).tolist(),
            "global_signal": mean.tolist(),
            "framewise_displacement": ["n/a", *moved.tolist()],
        }
        names = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
        table |= {name: motion[:, k].tolist() for k, name in enumerate(names)}
        for k, name in enumerate(names):
            table[f"{name}_derivative1"] = ["n/a", *np.diff(motion[:, k]).tolist()]
        table |= {f"cosine{k:02d}": cosines[:, k].tolist() for k in range(order)}
        for k, at in enumerate(np.flatnonzero(moved > 0.5) + 1):
            table[f"motion_outlier{k:02d}"] = (time == at).astype(float).tolist()
        return series, table

    def truth(self) -> None:
        person, names = self.person, self.person.regions
        place = "sourcedata/truth"
        columns = zip(
            names,
            person.grey_matter.tolist(),
            person.synaptic_density.tolist(),
            person.space.laminar.astype(int).tolist(),
            person.centres.tolist(),
            np.bincount(person.voxel_region).tolist(),
            strict=True,
        )
        self.table(
            f"{place}/regions.tsv",
            ["name", "grey_matter_mm3", "synaptic_density", "laminar", "x", "y", "z", "voxels"],
            ([n, g, s, lam, *xyz, v] for n, g, s, lam, xyz, v in columns),
        )
        for run, bold in person.bold.items():
            self.table(f"{place}/drive_{run}.tsv", person.inputs, person.drive[run].tolist())
            self.table(f"{place}/bold_{run}.tsv", names, person.region_bold(run).tolist())
            assert len(bold) == len(person.drive[run])
        self.json(
            f"{place}/truth.json",
            {
                "Seed": person.seed,
                "Atlas": person.space.atlas,
                "Voxels": len(person.voxel_region),
                "VoxelSizeMm": person.voxel_mm,
                "Inputs": list(person.inputs),
                "Model": "linear: a = sum_k (0.7 P)^k s, convolved with a double-gamma response; no spiking network",
                "NoisePercent": _NOISE_PERCENT,
            },
        )


def _mix(random: np.random.Generator, n: int, columns: Float) -> npt.NDArray[np.float32]:
    weights = random.standard_normal((n, columns.shape[1]), dtype=np.float32)
    return np.asarray(weights @ columns.T.astype(np.float32), np.float32)


def _cell(value: object) -> str:
    """Shortest text that reads back to the same number."""
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value)
