"""A BIDS folder is read to the planted truth, or refused with a sentence that says what to mend."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import files
from twinbrain.assimilate.target import observations
from twinbrain.brain import Brain
from twinbrain.config import read_study
from twinbrain.data.bids_names import files_of, parse_name, participants, pick
from twinbrain.data.preparation import Preparation, read_confounds
from twinbrain.data.read import read_subject
from twinbrain.errors import InputError
from twinbrain.experiment.synthetic import SyntheticPerson
from twinbrain.experiment.synthetic_bids import synthetic_bids

SPACE = "space-MNI152NLin2009cAsym"
FUNC = "derivatives/fmriprep/sub-01/func/sub-01_task-rest"
ANAT = f"derivatives/fmriprep/sub-01/anat/sub-01_{SPACE}_label-GM_probseg.nii.gz"
BOLD = f"{FUNC}_{SPACE}_desc-preproc_bold.nii.gz"
SIDECAR = f"{FUNC}_{SPACE}_desc-preproc_bold.json"
CONFOUNDS = f"{FUNC}_desc-confounds_timeseries.tsv"
ATLAS = f"derivatives/atlas/atlas-Template_{SPACE}_dseg.nii.gz"
LABELS = "derivatives/atlas/atlas-Template_dseg.tsv"
DWI = f"derivatives/qsirecon/sub-01/dwi/sub-01_{SPACE}_seg-Template_desc-"
PET = f"derivatives/petprep/sub-01/pet/sub-01_trc-UCBJ_{SPACE}_meas-DVR_pet"
TABLE = "derivatives/petprep/sub-01/pet/sub-01_trc-UCBJ_seg-Template_stat-mean_meas-DVR_pet"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SyntheticPerson]:
    folder = tmp_path_factory.mktemp("bids") / "data"
    return folder, synthetic_bids(folder, small=True)


@pytest.fixture
def copy(written: tuple[Path, SyntheticPerson], tmp_path: Path) -> Path:
    return Path(shutil.copytree(written[0], tmp_path / "data"))


def test_the_anatomy_read_is_the_anatomy_planted(written: tuple[Path, SyntheticPerson]) -> None:
    folder, truth = written
    person = read_subject(folder)
    assert person.name == "sub-01"
    assert person.regions == truth.regions
    assert np.abs(person.grey_matter.values / truth.grey_matter - 1).max() < 1e-5
    off = ~np.eye(len(truth.regions), dtype=bool)
    assert np.corrcoef(person.connectome.values[off], truth.connectome[off])[0, 1] > 0.999999
    np.testing.assert_allclose(person.connectome.values, truth.connectome)
    assert person.lengths is not None
    np.testing.assert_allclose(person.lengths.values, truth.lengths, atol=1e-3)
    assert person.synaptic_density is not None
    np.testing.assert_array_equal(person.synaptic_density.values, truth.synaptic_density)
    assert person.laminar.values.tolist() == list(truth.space.laminar)
    assert person.connectome.attrs["units"] == "streamlines"
    assert list(person.bold) == ["blocks", "rest"]
    assert person.bold["rest"].attrs["repetition_time_s"] == truth.repetition_time_s
    assert person.positions is not None
    np.testing.assert_allclose(person.positions.values, truth.centres, atol=1e-3)


def test_the_voxels_read_are_the_voxels_planted(written: tuple[Path, SyntheticPerson]) -> None:
    folder, truth = written
    there = read_subject(folder).voxels
    assert there is not None
    assert there.order is not None
    np.testing.assert_allclose(there.grey_matter.values, truth.voxel_grey_matter[there.order], rtol=1e-5)
    assert there.synaptic_density is not None
    np.testing.assert_allclose(there.synaptic_density.values, truth.voxel_density[there.order], rtol=1e-6)
    assert there.connectome is not None
    assert (there.connectome != truth.voxel_connectome[there.order][:, there.order]).nnz == 0
    np.testing.assert_array_equal(there.region, truth.voxel_region[there.order])
    np.testing.assert_allclose(there.positions.values, truth.voxel_positions[there.order], atol=1e-4)
    assert read_subject(folder, level="region").voxels is None


def test_cleaning_takes_out_what_follows_the_confounds(written: tuple[Path, SyntheticPerson]) -> None:
    folder, truth = written
    table = read_confounds(folder / CONFOUNDS)
    moved = table["framewise_displacement"].fillna(0).to_numpy() > 0.3
    assert 0 < moved.sum() < 30

    def read(preparation: Preparation | None) -> np.ndarray:
        return np.asarray(read_subject(folder, preparation=preparation).bold["rest"].values)

    def follows(series: np.ndarray) -> float:
        there = np.isfinite(series).all(axis=1)
        of_motion = table["trans_y"].to_numpy()[there]
        return float(max(abs(np.corrcoef(x[there], of_motion)[0, 1]) for x in series.T))

    raw = read(None)
    planted = truth.region_bold("rest")
    both = [np.corrcoef(a, b)[0, 1] for a, b in zip(raw.T, planted.T, strict=True)]
    assert np.median(both) > 0.9
    assert follows(raw) > 0.1
    assert follows(read(Preparation(confounds="motion6", detrend_order=1))) < 1e-9
    scrubbed = read(Preparation(scrub_mm=0.3, confounds="motion6", detrend_order=1))
    assert np.array_equal(np.isnan(scrubbed).all(axis=1), moved)
    assert follows(scrubbed) < 1e-9


def test_every_file_and_step_is_in_the_provenance(written: tuple[Path, SyntheticPerson]) -> None:
    folder, _ = written
    notes = read_subject(folder, preparation=Preparation(confounds="motion24", detrend_order=2)).provenance
    for name in (ANAT, BOLD, SIDECAR, CONFOUNDS, ATLAS, LABELS, f"{DWI}streamlinecount_connmatrix.csv", f"{TABLE}.tsv"):
        assert len(notes[name]) == 64, name
    assert notes["bold rest step 3"].startswith("regressed out 24 confounds (motion24) and a polynomial of degree 2")
    assert not any("sourcedata" in name for name in notes)


def test_the_voxel_brain_is_built_of_what_was_read(written: tuple[Path, SyntheticPerson]) -> None:
    folder, truth = written
    brain = Brain.from_subject(read_subject(folder), level="voxel", reference="grey_matter")
    assert len(brain.voxels) == len(truth.voxel_region)
    weight = truth.voxel_grey_matter / truth.voxel_grey_matter.sum()
    expected = np.clip(truth.voxel_density / (truth.voxel_density @ weight), 0.7, 1.3)
    np.testing.assert_allclose(np.sort(brain.in_degree_factor), np.sort(expected), rtol=1e-5)
    rows = np.asarray(brain.projection.sum(axis=1)).ravel()
    np.testing.assert_allclose(rows[rows > 0], 1.0)


def test_voxels_need_no_voxel_connectome(copy: Path) -> None:
    for name in copy.rglob("*desc-voxel*"):
        name.unlink()
    assert read_subject(copy).voxels is None
    there = read_subject(copy, level="voxel").voxels
    assert there is not None
    assert there.connectome is None
    assert len(there) > 1500


def test_a_study_names_the_participant_and_the_steps(copy: Path) -> None:
    from twinbrain.experiment.prepare import prepare

    text = '[subject]\nfolder = "data"\nparticipant = "01"\nconfounds = "motion6"\nscrub_mm = 0.3\n'
    text += "[assimilation]\nvolumes = 50\nneurons = 4000\n[laminar]\nenabled = false\n"
    (copy.parent / "study.toml").write_text(text)
    ready = prepare(read_study(copy.parent / "study.toml"))
    assert ready.person.name == "sub-01"
    assert any("regressed out 6 confounds" in note for note in ready.person.provenance.values())
    assert ready.person.provenance["bold rest step 2"].endswith("missing")


# ---- names -----------------------------------------------------------------------------------------------------------


def test_names_are_taken_apart() -> None:
    assert parse_name("sub-01_ses-2_task-rest_run-01_bold.json") == (
        {"sub": "01", "ses": "2", "task": "rest", "run": "01"},
        "bold",
        ".json",
    )
    assert parse_name("no name.nii") is None


@pytest.mark.skipif(importlib.util.find_spec("bids") is None, reason="pybids is not installed")
@pytest.mark.filterwarnings("ignore")
def test_names_are_taken_apart_as_pybids_does(written: tuple[Path, SyntheticPerson]) -> None:
    from bids import BIDSLayout
    from bids.layout import parse_file_entities

    long = {"sub": "subject", "ses": "session", "acq": "acquisition", "trc": "tracer", "dir": "direction"}
    long |= {"desc": "desc", "res": "resolution", "label": "label", "task": "task", "space": "space", "run": "run"}
    folder, _ = written
    compared = 0
    for file in files_of(folder, "01"):
        theirs = parse_file_entities(str(file.path))
        for key, value in file.entities.items():
            name = long.get(key, key)
            if name in theirs:
                assert str(theirs[name]) == value
                compared += 1
        if "suffix" in theirs:
            assert theirs["suffix"] == file.suffix
            assert theirs["extension"] == file.extension
    assert compared > 40
    layout = BIDSLayout(folder, derivatives=[folder / "derivatives" / "fmriprep"], validate=False)
    for suffix, extension, query in (
        ("bold", ".nii.gz", {"desc": "preproc"}),
        ("probseg", ".nii.gz", {"label": "GM"}),
        ("timeseries", ".tsv", {"desc": "confounds"}),
        ("mask", ".nii.gz", {"desc": "brain"}),
    ):
        theirs = {f.filename for f in layout.get(suffix=suffix, extension=extension, scope="derivatives", **query)}
        ours = {f.path.name for f in pick(files_of(folder, "01"), suffix, extension, **query)}
        assert ours == theirs
        assert ours


def test_people_are_found_and_asked_for(copy: Path) -> None:
    assert participants(copy) == ("01",)
    shutil.copytree(copy / "derivatives/fmriprep/sub-01", copy / "derivatives/fmriprep/sub-02")
    with pytest.raises(InputError, match=r"2 people are in it \(01, 02\); say who with participant_label="):
        read_subject(copy)
    assert read_subject(copy, "sub-01").name == "sub-01"
    with pytest.raises(InputError, match="there is no participant '03'; there is 01, 02"):
        read_subject(copy, "03")


# ---- what can be wrong -----------------------------------------------------------------------------------------------


def edit_json(name: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        content = {k: v for k, v in (content | changes).items() if v is not None}
        (folder / name).write_text(json.dumps(content))

    return change


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def edit_text(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        before = (folder / name).read_text()
        after = change(before)
        assert after != before
        (folder / name).write_text(after)

    return apply


def edit_image(
    name: str, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        import nibabel as nib

        image = nib.load(folder / name)
        data, affine = change(np.asanyarray(image.dataobj).copy(), image.affine.copy())
        made = nib.Nifti1Image(data, affine)
        made.set_data_dtype(data.dtype)
        nib.save(made, folder / name)

    return apply


def cut(name: str, share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return apply


def shifted(affine: np.ndarray) -> np.ndarray:
    affine[0, 3] += 300
    return affine


def flipped(affine: np.ndarray, n: int) -> np.ndarray:
    turn = np.diag([-1.0, 1, 1, 1])
    return turn @ affine


def with_value(data: np.ndarray, where: object, value: float) -> np.ndarray:
    data[where] = value  # type: ignore[index]
    return data


BAD: list[tuple[str, Callable[[Path], None], str]] = [
    ("TR missing", edit_json(SIDECAR, RepetitionTime=None), r"desc-preproc_bold.json: the repetition time is missing"),
    (
        "TR in ms",
        edit_json(SIDECAR, RepetitionTime=800),
        r"RepetitionTime is 800, which looks like milliseconds; .*0.8",
    ),
    ("TR is text", edit_json(SIDECAR, RepetitionTime="0.8"), r"RepetitionTime is '0.8', but a number of seconds"),
    ("TR is 0", edit_json(SIDECAR, RepetitionTime=0), r"RepetitionTime is 0, but a number of seconds above 0"),
    ("side-car broken", edit_text(SIDECAR, lambda t: t[:-3]), r"bold.json: this cannot be read as JSON"),
    ("BOLD 3D", edit_image(BOLD, lambda d, a: (d[..., 0], a)), r"preprocessed BOLD must be 4-D .*volumes are missing"),
    ("BOLD cut off", cut(BOLD, 0.6), r"bold.nii.gz: the compressed file is damaged or cut off after"),
    (
        "BOLD elsewhere",
        edit_image(BOLD, lambda d, a: (d, shifted(a))),
        r"or their affines differ.; give runs on one grid",
    ),
    ("grey matter elsewhere", edit_image(ANAT, lambda d, a: (d, shifted(a))), r"only \d+ % lie over each other"),
    ("BOLD constant", edit_image(BOLD, lambda d, a: (d * 0 + 7, a)), r"no voxel has a signal that varies"),
    (
        "affine 0",
        edit_image(ATLAS, lambda d, a: (d, np.diag([0.001, 1, 1, 1]))),
        r"the affine puts neighbouring points",
    ),
    ("no atlas", remove(ATLAS), r"there is no label image atlas-\*_space-MNI152NLin2009cAsym_dseg.nii.gz"),
    ("no labels", remove(LABELS), r"dseg.nii.gz: there is no table of its labels"),
    ("no grey matter", remove(ANAT), r"there is no grey-matter map .*run fMRIPrep with --output-spaces"),
    (
        "no connectome",
        remove(f"{DWI}streamlinecount_connmatrix.csv", f"{DWI}voxel_connmatrix.npz"),
        r"no connectome of participant '01'",
    ),
    ("voxel list gone", remove(f"{DWI}voxel_voxels.tsv"), r"there is no list of its voxels"),
    (
        "hemispheres",
        edit_image(ATLAS, lambda d, a: (d[::-1].copy(), a)),
        r"the hemispheres are swapped; correct the sign",
    ),
    (
        "interpolated labels",
        edit_image(ATLAS, lambda d, a: (d * 0.5, a)),
        r"but labels are whole numbers; .*nearest-neighbour",
    ),
    ("negative labels", edit_image(ATLAS, lambda d, a: (with_value(d, d == 3, -3), a)), r"label -3 was found at"),
    (
        "byte labels",
        lambda f: (
            edit_text(LABELS, lambda t: t + "300\tDeep_L\t0\tL\n")(f),
            edit_image(ATLAS, lambda d, a: (d.astype(np.uint8), a))(f),
        )[0],
        r"names label 300, but the image stores uint8 numbers, at most 255",
    ),
    (
        "labels of another atlas",
        edit_image(ATLAS, lambda d, a: (np.where(d > 0, d + 500, 0).astype(np.int16), a)),
        r"none of its labels \(501",
    ),
    ("a region gone", edit_image(ATLAS, lambda d, a: (with_value(d, d == 4, 0), a)), r"holds no grey matter in"),
    (
        "a label twice",
        edit_text(LABELS, lambda t: t + t.splitlines()[-1] + "\n"),
        r"dseg.tsv, row \d+: label \d+ is there twice",
    ),
    (
        "label table without name",
        edit_text(LABELS, lambda t: t.replace("name", "title", 1)),
        r"row 1: there is no column 'name'",
    ),
    (
        "T1 as grey matter",
        edit_image(ANAT, lambda d, a: (d.astype(np.float32) * 4000, a)),
        r"a grey-matter map holds probabilities",
    ),
    (
        "NaN in grey matter",
        edit_image(ANAT, lambda d, a: (with_value(d.astype(np.float32), (3, 4, 5), np.nan), a)),
        r"nan was found at \(3, 4, 5\), but a probability",
    ),
    ("grey matter cut", cut(ANAT, 0.3), r"probseg.nii.gz: the compressed file is damaged or cut off"),
    (
        "matrix transposed names",
        edit_text(f"{DWI}streamlinecount_connmatrix.csv", lambda t: t.replace("Thalamus_L", "Thalamus_X")),
        r"region 'Thalamus_X' is not in .*dseg.tsv; did you mean 'Thalamus_",
    ),
    (
        "matrix not square",
        edit_text(f"{DWI}streamlinecount_connmatrix.csv", lambda t: t.rstrip("\n").rsplit("\n", 1)[0]),
        r"rows and columns must name the same regions",
    ),
    (
        "PET unit missing",
        lambda f: (
            remove(f"{TABLE}.json")(f),
            (f / f"{TABLE}.tsv")
            .rename(f / TABLE.replace("_meas-DVR", ""))
            .with_suffix("")
            .rename(f / f"{TABLE.replace('_meas-DVR', '')}.tsv"),
        )[0],
        r"the unit is missing .* say pet_units=",
    ),
    (
        "PET unit is activity",
        edit_json(f"{TABLE}.json", Units="Bq/mL"),
        r"the unit of the PET map is 'Bq/mL', but one of",
    ),
    (
        "PET below 0",
        edit_text(f"{TABLE}.tsv", lambda t: t.replace("\t0.", "\t-0.", 1).replace("\t1.", "\t-1.", 1)),
        r"synaptic density is above 0; give SUVR",
    ),
    (
        "PET region gone",
        edit_text(f"{TABLE}.tsv", lambda t: t.rstrip("\n").rsplit("\n", 1)[0] + "\n"),
        r"region '.*' is missing; add its value|region '.*' is missing; did you mean",
    ),
    ("PET elsewhere", edit_image(f"{PET}.nii.gz", lambda d, a: (d, shifted(a))), r"only \d+ % lie over each other"),
    (
        "voxel list short",
        edit_text(f"{DWI}voxel_voxels.tsv", lambda t: t.rstrip("\n").rsplit("\n", 1)[0] + "\n"),
        r"the matrix is 1500 x 1500, but .* lists 1499 voxels",
    ),
    (
        "voxel list in cm",
        edit_text(
            f"{DWI}voxel_voxels.tsv",
            lambda t: "\n".join(
                t.splitlines()[:1]
                + [
                    "\t".join([str(float(c) / 10) for c in line.split("\t")[:3]] + line.split("\t")[3:])
                    for line in t.splitlines()[1:]
                ]
            ),
        ),
        r"mm from the next BOLD voxel|list and atlas must be of the same",
    ),
]


@pytest.mark.parametrize(("change", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_each_fault_is_named_with_its_place(copy: Path, change: Callable[[Path], None], message: str) -> None:
    change(copy)
    with pytest.raises(InputError, match=message) as caught:
        read_subject(copy)
    said = str(caught.value)
    assert "\n" not in said
    assert str(copy) in said
    assert said.endswith((".", "..."))


def test_confounds_must_fit_the_run(copy: Path) -> None:
    path = copy / CONFOUNDS
    whole = path.read_text()
    wanted = Preparation(confounds="motion6")
    path.write_text("\n".join(whole.splitlines()[:-5]) + "\n")
    with pytest.raises(InputError, match=r"confounds_timeseries.tsv: 95 rows were found, but the run has 100 volumes"):
        read_subject(copy, preparation=wanted)
    path.write_text(whole.replace("trans_x", "trans_q"))
    with pytest.raises(InputError, match=r"there is no confound 'trans_x'"):
        read_subject(copy, preparation=wanted)
    path.unlink()
    with pytest.raises(InputError, match=r"no table of confounds was found, but scrubbing or confound regression"):
        read_subject(copy, preparation=wanted)
    assert read_subject(copy).name == "sub-01"


# ---- no images: parcellated series -----------------------------------------------------------------------------------


def xcpd(folder: Path, atlas: str = "X") -> Path:
    """What XCP-D and QSIRecon leave: series and a matrix of one parcellation, no image."""
    func = folder / "derivatives/xcp_d/sub-01/func"
    func.mkdir(parents=True)
    stem = f"sub-01_task-rest_space-MNI152NLin2009cAsym_seg-{atlas}"
    files.series_tsv(func / f"{stem}_stat-mean_timeseries.tsv")
    dwi = folder / "derivatives/qsirecon/sub-01/dwi"
    dwi.mkdir(parents=True, exist_ok=True)
    files.labelled_csv(dwi / f"sub-01_seg-{atlas}_desc-count_connmatrix.csv")
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return folder


def test_parcellated_series_and_a_connectome_are_a_person(tmp_path: Path) -> None:
    person = read_subject(xcpd(tmp_path))
    assert person.regions == files.REGIONS
    assert person.repetition_time_s == files.TR
    expected = files.series()
    expected[7] = np.nan  # XCP-D's censored volume stays missing
    np.testing.assert_array_equal(person.bold["rest"].values, expected)
    np.testing.assert_array_equal(person.connectome.values, files.connectome())
    assert person.connectome.attrs["units"] == "streamlines"
    assert person.provenance["grey matter"].startswith("not known")
    xcpd_two = tmp_path / "derivatives/xcp_d/sub-01/func/sub-01_task-rest_seg-Y_stat-mean_timeseries.tsv"
    files.series_tsv(xcpd_two)
    with pytest.raises(InputError, match=r"series of 2 parcellations were found \(X, Y\); say which with atlas="):
        read_subject(tmp_path)
    assert read_subject(tmp_path, atlas="X").regions == files.REGIONS


def test_files_of_another_person_are_refused(tmp_path: Path) -> None:
    xcpd(tmp_path)
    other = files.labelled_csv(tmp_path / "sub-02_seg-X_connmatrix.csv")
    with pytest.raises(InputError, match=r"this file is of participant '02', but '01' is read from"):
        read_subject(tmp_path, connectome=other)
    series = files.series_tsv(tmp_path / "sub-03_task-rest_timeseries.tsv")
    with pytest.raises(InputError, match=r"sub-02_.*: this file is of participant '02', but sub-03_.* is of '03'"):
        read_subject(series, connectome=other)


def test_a_missing_volume_is_missing_to_the_fit(tmp_path: Path) -> None:
    target = observations(read_subject(xcpd(tmp_path)).bold["rest"])
    assert np.isnan(target.values[7]).all()
    assert np.isfinite(np.delete(target.values, 7, axis=0)).all()


@pytest.mark.slow
def test_a_missing_volume_goes_into_the_fit_as_missing(tmp_path: Path) -> None:
    import twinbrain as tb

    person = read_subject(xcpd(tmp_path))
    network = tb.Network(Brain.from_subject(person), neurons=1500, in_degree=100, circuit="canonical", seed=1)
    fit = tb.assimilate(
        network,
        person.bold["rest"],
        ["Insula_L"],
        method="vw-dhmda",
        members=3,
        warm_up=1,
        lag=2,
        volumes=20,
        threads=1,
    )
    assert np.isnan(fit.target.sel(region="Insula_L").values[7])
    assert np.isfinite(np.delete(fit.target.sel(region="Insula_L").values, 7)).all()
    assert np.isfinite(fit.drive.values).all()
