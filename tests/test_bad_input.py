"""What people bring by mistake: each case has one sentence that names the file, what was found, and how to mend it.

Faults of whole BIDS folders are in ``test_bids.py``; here are single files of every format.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bad_connectomes
import bad_images
import bad_series
import files
from bad_files import Case, saved
from twinbrain.data.containers import read_arrays
from twinbrain.data.images import load_volume
from twinbrain.data.read import read_subject
from twinbrain.errors import InputError

PEOPLE: list[Case] = [
    (
        "an image is no person",
        saved("v.nii.gz", files.nifti, read_subject),
        r"an image or a tractogram alone is not a person",
    ),
    (
        "an option that is not for it",
        lambda f: read_subject(files.labelled_csv(f / "sc.csv"), space="MNI"),
        r"this is a single file, to which the option space= does not apply",
    ),
    ("an empty folder", lambda f: read_subject(f), r"subject.toml: the file is missing; a subject folder needs it"),
    ("nothing there", lambda f: read_subject(f / "nobody"), r"there is no such folder or file"),
]

CASES = bad_connectomes.CASES + bad_series.CASES + bad_images.CASES + PEOPLE


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("go", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_mistake_has_one_clear_sentence(tmp_path: Path, go: Callable[[Path], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        go(tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    assert str(tmp_path) in said, "the file is named"
    assert said.endswith("."), "it is a sentence"
    assert len(said) < 600


def test_big_arrays_are_refused_before_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Little:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Little)
    with pytest.raises(InputError, match=r"v.nii.gz: an image would take 0.0 GB, but 0.0 GB of memory are free"):
        load_volume(files.nifti(tmp_path / "v.nii.gz"))
    with pytest.raises(InputError, match=r"tc.mat: the file would take"):
        read_arrays(files.series_mat(tmp_path / "tc.mat"))
