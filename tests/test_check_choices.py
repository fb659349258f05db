"""A folder as real pipelines leave it: no atlas among the files, so one is named on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from synthetic_example import small_bids
from twinbrain.cli import main

SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The small person without its atlas, which lies elsewhere; its series of regions are gone as well."""
    source, _ = small_bids()
    folder = tmp_path / "data"
    shutil.copytree(source, folder)
    shutil.move(folder / "derivatives" / "atlas", tmp_path / "mine")
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_an_atlas_is_named_to_check(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "check", bare)
    assert code == 1
    assert "or name one that is installed (AAL2, " in text
    image, table = tmp_path / f"mine/atlas-Template_{SPACE}_dseg.nii.gz", tmp_path / "mine/atlas-Template_dseg.tsv"
    code, text = said(capsys, "check", bare, "--atlas", image)  # its table lies beside it, for all spaces
    assert code == 0, text
    code, again = said(capsys, "check", bare, "--atlas", image, "--labels", table)
    assert (code, again) == (0, text)
    code, missing = said(capsys, "check", bare, "--atlas", tmp_path / "nothere.nii.gz")
    assert code == 1
    assert "nothere.nii.gz: there is no such label image; check the path given as atlas=" in missing
    assert "regions: 24, 22 of them six-layered cortex" in text
    assert "% of the regions' grey matter)" in text
    code, text = said(capsys, "check", bare, "--atlas", image, "--labels", table, "--weighting", "fa")
    assert code == 1
    assert "a table holds one matrix, but the weighting 'fa' was asked for; leave weighting= out" in text
    study = tmp_path / "study.toml"
    study.write_text("")
    code, text = said(capsys, "check", study, "--atlas", "AAL2")
    assert code == 1
    assert "study.toml: a study says itself which atlas it takes, in its table [subject]" in text


def test_the_wrong_folder_or_file_is_answered_with_the_right_one(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for below in ("derivatives", "derivatives/fmriprep/sub-01", "sub-01"):
        code, text = said(capsys, "check", bare / below)
        assert code == 1
        assert "It lies in the BIDS folder" in text
    func = bare / "derivatives" / "fmriprep" / "sub-01" / "func"
    code, text = said(capsys, "check", func / f"sub-01_task-rest_{SPACE}_desc-preproc_bold.nii.gz")
    assert code == 1
    assert "an image or a tractogram alone is not a person" in text
    code, text = said(capsys, "check", bare / "nowhere")
    assert code == 1
    assert "there is no such file or folder; give a study in TOML, or a person's folder or file" in text
