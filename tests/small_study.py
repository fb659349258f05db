"""A small person on disk and a study of it that runs in seconds: for the tests of the main job and its commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinbrain.config import Study, study_from_dict
from twinbrain.data.read import write_subject
from twinbrain.data.subject import Subject

REGIONS = ("Thalamus_L", "Thalamus_R", "Insula_L", "Insula_R", "Cuneus_L")


def write_person(folder: Path, *, volumes: int = 60, repetition_time_s: float = 0.8) -> Path:
    """Write a person of five regions whose BOLD is smooth noise."""
    random = np.random.default_rng(7)
    weights = random.uniform(0.1, 1.0, (5, 5))
    np.fill_diagonal(weights := (weights + weights.T) / 2, 0.0)
    noise = random.normal(size=(volumes + 20, 5))
    kernel = np.hanning(15)
    series = np.stack([np.convolve(column, kernel, "same")[10:-10] for column in noise.T], axis=1)
    person = Subject.from_arrays(
        weights,
        REGIONS,
        {"rest": series},
        repetition_time_s=repetition_time_s,
        grey_matter=np.arange(5.0) + 3,
        name="small",
    )
    write_subject(person, folder)
    return folder


def small_tables(folder: Path) -> dict[str, dict[str, object]]:
    """Tables of a study of this person, sizes as small as the rooms allow."""
    return {
        "subject": {"folder": str(folder)},
        "network": {"in_degree": 100},
        "calibration": {"enabled": False},
        "assimilation": {
            "method": "vw-dhmda",
            "target_mean": 0.022,
            "target_scale": 0.004,
            "inputs": ["Thalamus_L", "Thalamus_R"],
            "members": 3,
            "neurons": 500,
            "first_volume": 5,
            "volumes": 35,
            "bounds": [0.0, 0.03],
            "warm_up": 1,
        },
        "recording": {"spikes": "all", "rate_bin_ms": 100.0, "voxel_means_every_ms": 400.0, "traced_neurons": 2},
        "twin": {"neurons": 1000, "warm_up": 1, "raster_s": 1.0},
        "laminar": {"neurons": 1000, "duration_s": 2.0},
        "execution": {"threads": 1, "checkpoint_every_s": 0.0},
    }


def small_study(folder: Path) -> Study:
    """The study of :func:`small_tables`."""
    return study_from_dict(dict(small_tables(folder)))
