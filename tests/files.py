"""Small files of every format, written as the tools in the field write them; used by several tests."""

from __future__ import annotations

import bz2
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REGIONS = ("Insula_L", "Insula_R", "Thalamus_L", "Thalamus_R", "Precentral_L")
N = len(REGIONS)
TR = 0.72


def connectome() -> np.ndarray:
    values = np.random.default_rng(1).gamma(1.0, 100.0, (N, N)).round(3)
    values = np.triu(values, 1)
    return values + values.T


def series(volumes: int = 40) -> np.ndarray:
    return (np.random.default_rng(2).normal(size=(volumes, N)) + 100).astype(np.float32).astype(np.float64)


def labels_tsv(path: Path) -> Path:
    rows = [f"{k + 1}\t{name}\t{0 if 'Thal' in name else 1}\t{name[-1]}" for k, name in enumerate(REGIONS)]
    path.write_text("index\tname\tlaminar\themisphere\n" + "\n".join(rows) + "\n")
    return path


def labelled_csv(path: Path, values: np.ndarray | None = None, names: tuple[str, ...] = REGIONS) -> Path:
    values = connectome() if values is None else values
    lines = [",".join(["", *names])]
    lines += [",".join([name, *map(repr, row.tolist())]) for name, row in zip(names, values, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def mrtrix_csv(path: Path) -> Path:
    """No header, upper triangle only, blanks after the commas."""
    path.write_text("\n".join(", ".join(f"{x:g}" for x in row) for row in np.triu(connectome())) + "\n")
    return path


def relmat(path: Path) -> Path:
    """BEP017: a header of names over the dense matrix."""
    body = "\n".join("\t".join(map(repr, row)) for row in connectome().tolist())
    path.write_text("\t".join(REGIONS) + "\n" + body + "\n")
    return path


def npz(path: Path) -> Path:
    np.savez_compressed(path, weights=connectome(), region_labels=np.array(REGIONS))
    return path


def npy(path: Path) -> Path:
    np.save(path, connectome())
    return path


def mat5(path: Path) -> Path:
    from scipy.io import savemat

    savemat(
        path,
        {
            "atlas_X_sift_radius2_count_connectivity": connectome(),
            "atlas_X_radius2_meanlength_connectivity": connectome() / 10,
            "atlas_X_region_labels": np.array(REGIONS),
        },
        do_compression=True,
    )
    return path


def mat73(path: Path) -> Path:
    """MATLAB v7.3 is HDF5 after 512 bytes, matrices stored column by column, texts as 16-bit numbers."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        made = file.create_dataset("sc", data=connectome().T, compression="gzip")
        made.attrs["MATLAB_class"] = np.bytes_("double")
        codes = np.array([[ord(c) for c in name.ljust(12)] for name in REGIONS], dtype=np.uint16)
        text = file.create_dataset("region_labels", data=codes.T)
        text.attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + struct.pack("<HH", 0x0200, 0x4D49))
    return path


def hdf5(path: Path) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for name, factor in (("sift_invnodevol_radius2_count", 1.0), ("radius2_meanlength", 0.1)):
            file.create_dataset(f"atlas_X/{name}_connectivity", data=connectome() * factor, compression="gzip")
        file.create_dataset("atlas_X/region_labels", data=list(REGIONS), dtype=h5py.string_dtype())
    return path


def tvb(path: Path, *, folder: str = "", packed: bool = False) -> Path:
    centres = "\n".join(f"{name} {10.0 * k} {5.0 * k} -3.0" for k, name in enumerate(REGIONS))
    table = lambda m: "\n".join(" ".join(f"{x:.10e}" for x in row) for row in m)  # noqa: E731
    parts = {
        "centres": centres,
        "weights": table(connectome()),
        "tract_lengths": table(connectome() / 10),
        "cortical": "\n".join("0" if "Thal" in n else "1" for n in REGIONS),
        "info": "weights_unit = 'au'",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, text in parts.items():
            if packed:
                archive.writestr(f"{folder}{part}.txt.bz2", bz2.compress(text.encode()))
            else:
                archive.writestr(f"{folder}{part}.txt", text)
    return path


def sparse_npz(path: Path) -> Path:
    from scipy.sparse import csr_array, save_npz

    save_npz(path, csr_array(connectome()))
    return path


def series_tsv(path: Path) -> Path:
    """XCP-D: names in the first row, a side-car beside it, n/a in censored volumes."""
    rows = ["\t".join(map(repr, row)) for row in series().tolist()]
    rows[7] = "\t".join(["n/a"] * N)
    path.write_text("\t".join(REGIONS) + "\n" + "\n".join(rows) + "\n")
    path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": TR}))
    return path


def series_csv(path: Path) -> Path:
    path.write_text("\n".join(",".join(map(repr, row)) for row in series().tolist()) + "\n")
    return path


def series_npz(path: Path) -> Path:
    np.savez(path, tc=series().T, labels=np.array(REGIONS), TR=TR)
    return path


def series_mat(path: Path) -> Path:
    from scipy.io import savemat

    savemat(path, {"tc": series().T, "region_labels": np.array(REGIONS)})
    return path


def _parcels() -> Any:
    import nibabel.cifti2 as cifti

    model = cifti.BrainModelAxis.from_mask(np.ones(2 * N, bool), name="CortexLeft")
    groups = [(name, model[2 * k : 2 * k + 2]) for k, name in enumerate(REGIONS)]
    return cifti.ParcelsAxis.from_brain_models(groups), model


def ptseries(path: Path, step: float = TR, unit: str = "SECOND", values: np.ndarray | None = None) -> Path:
    import nibabel as nib
    import nibabel.cifti2 as cifti

    values = series() if values is None else values
    axes = (cifti.SeriesAxis(0, step, len(values), unit), _parcels()[0])
    nib.Cifti2Image(values.astype(np.float32), axes).to_filename(path)
    return path


def dtseries(path: Path) -> Path:
    import nibabel as nib
    import nibabel.cifti2 as cifti

    axes = (cifti.SeriesAxis(0, TR, 40), _parcels()[1])
    nib.Cifti2Image(np.repeat(series(), 2, axis=1).astype(np.float32), axes).to_filename(path)
    return path


def dlabel(path: Path) -> Path:
    import nibabel as nib
    import nibabel.cifti2 as cifti

    table = {0: ("???", (0, 0, 0, 0))} | {k + 1: (name, (0.1 * k, 0.5, 0.5, 1)) for k, name in enumerate(REGIONS)}
    axes = (cifti.LabelAxis(["atlas"], table), _parcels()[1])
    nib.Cifti2Image(np.repeat(np.arange(1, N + 1), 2)[None].astype(np.float32), axes).to_filename(path)
    return path


def pet_tsv(path: Path) -> Path:
    path.write_text("name\tDVR\n" + "\n".join(f"{name}\t{1 + 0.1 * k}" for k, name in enumerate(REGIONS)) + "\n")
    return path


def events_tsv(path: Path) -> Path:
    path.write_text("onset\tduration\ttrial_type\tresponse_time\n2.5\t1\ttone\t0.51\n9\t1\tpause\tn/a\n")
    return path


def confounds_tsv(path: Path) -> Path:
    random = np.random.default_rng(4).normal(size=(40, 7))
    names = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "framewise_displacement"]
    rows = ["\t".join(f"{x:.6f}" for x in row) for row in random]
    rows[0] = "\t".join([*rows[0].split("\t")[:6], "n/a"])
    path.write_text("\t".join(names) + "\n" + "\n".join(rows) + "\n")
    return path


def nifti(path: Path, data: np.ndarray | None = None, affine: np.ndarray | None = None) -> Path:
    import nibabel as nib

    data = np.random.default_rng(5).random((6, 7, 8)).astype(np.float32) if data is None else data
    image = nib.Nifti1Image(data, None)
    image.header.set_sform(np.diag([3.0, 3, 3, 1]) if affine is None else affine, 4)  # may be wrong on purpose
    nib.save(image, path)
    return path


def label_nifti(path: Path) -> Path:
    data = np.zeros((6, 7, 8), np.int16)
    for k in range(N):
        data[:, k] = k + 1
    return nifti(path, data)


def bold_nifti(path: Path) -> Path:
    return nifti(path, np.random.default_rng(6).normal(100, 5, (6, 7, 8, 25)).astype(np.float32))


def mgz(path: Path) -> Path:
    import nibabel as nib

    data = np.random.default_rng(7).normal(size=(50, 1, 1, 30)).astype(np.float32)
    nib.save(nib.MGHImage(data, np.eye(4)), path)
    return path


def func_gii(path: Path) -> Path:
    import nibabel as nib

    data = np.random.default_rng(7).normal(size=(50, 30)).astype(np.float32)
    arrays = [
        nib.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES", datatype="NIFTI_TYPE_FLOAT32")
        for row in data.T
    ]
    nib.save(nib.GiftiImage(darrays=arrays), path)
    return path


def surf_gii(path: Path) -> Path:
    import nibabel as nib

    points = np.random.default_rng(8).normal(size=(50, 3)).astype(np.float32)
    faces = np.random.default_rng(9).integers(0, 50, (96, 3)).astype(np.int32)
    arrays = [
        nib.gifti.GiftiDataArray(points, intent="NIFTI_INTENT_POINTSET", datatype="NIFTI_TYPE_FLOAT32"),
        nib.gifti.GiftiDataArray(faces, intent="NIFTI_INTENT_TRIANGLE", datatype="NIFTI_TYPE_INT32"),
    ]
    nib.save(nib.GiftiImage(darrays=arrays), path)
    return path


def label_gii(path: Path) -> Path:
    import nibabel as nib

    table = nib.gifti.GiftiLabelTable()
    for key, name in enumerate(("unknown", *REGIONS)):
        entry = nib.gifti.GiftiLabel(key=key, red=0.1, green=0.2, blue=0.3, alpha=1)
        entry.label = name
        table.labels.append(entry)
    labels = (np.arange(50) % (N + 1)).astype(np.int32)
    array = nib.gifti.GiftiDataArray(labels, intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32")
    nib.save(nib.GiftiImage(darrays=[array], labeltable=table), path)
    return path


def annot(path: Path) -> Path:
    import nibabel as nib

    colours = np.array([[10 * k, 20, 30, 0, 0] for k in range(N + 1)])
    names = [b"unknown", *(name.encode() for name in REGIONS)]
    nib.freesurfer.write_annot(path, (np.arange(50) % (N + 1)).astype(np.int32), colours, names, fill_ctab=True)
    return path


def thickness(path: Path) -> Path:
    import nibabel as nib

    nib.freesurfer.write_morph_data(path, np.linspace(1, 4, 50).astype(np.float32))
    return path


def pial(path: Path) -> Path:
    import nibabel as nib

    points = np.random.default_rng(8).normal(size=(50, 3)).astype(np.float32)
    nib.freesurfer.write_geometry(path, points, np.random.default_rng(9).integers(0, 50, (96, 3)), "made by a test")
    return path


def streamlines() -> list[np.ndarray]:
    """Straight lines between the centres of REGIONS (10 mm apart on x), as many as the connectome says, / 10."""
    centres = np.array([[10.0 * k, 0.0, 0.0] for k in range(N)])
    lines = []
    for i in range(N):
        for j in range(i + 1, N):
            for _ in range(round(connectome()[i, j] / 10)):
                lines.append(np.linspace(centres[i], centres[j], 12).astype(np.float32))
    return lines


def _tractogram() -> Any:
    import nibabel as nib

    return nib.streamlines.Tractogram(streamlines(), affine_to_rasmm=np.eye(4))


def trk(path: Path) -> Path:
    import nibabel as nib

    nib.streamlines.save(_tractogram(), str(path))
    return path


def tck(path: Path) -> Path:
    import nibabel as nib

    nib.streamlines.save(_tractogram(), str(path))
    return path


def trx(path: Path) -> Path:
    lines = streamlines()
    header = {"DIMENSIONS": [60, 60, 60], "NB_STREAMLINES": len(lines), "NB_VERTICES": sum(map(len, lines))}
    header["VOXEL_TO_RASMM"] = np.eye(4).tolist()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        archive.writestr("positions.3.float32", np.concatenate(lines).astype("<f4").tobytes())
        starts = np.cumsum([0, *map(len, lines)]).astype("<u4")
        archive.writestr("offsets.uint32", starts.tobytes())
    return path


Writer = Callable[[Path], Path]
