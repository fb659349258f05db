"""The study that experiments use when none is given, and the AAL2 names of the regions they speak of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from twinbrain.config import Study, study_from_dict
from twinbrain.errors import InputError

__all__ = ["INTEROCEPTIVE", "PLACES", "demonstration", "place"]

PLACES: dict[str, tuple[str, ...]] = {
    "V1": ("Calcarine",),
    "A1": ("Heschl",),
    "dorsal stream": ("Cuneus", "Occipital_Sup", "Parietal_Sup", "Parietal_Inf"),
    "ventral stream": ("Lingual", "Fusiform", "Occipital_Inf", "Temporal_Inf"),
    "motor": ("Precentral",),
    "thalamus": ("Thalamus",),
    "hippocampus": ("Hippocampus",),
    "insula": ("Insula",),
    "ACC": ("Cingulate_Ant",),
    "vmPFC/sgACC": ("Frontal_Med_Orb", "Rectus"),
}
"""Stated approximations of the published regions in AAL2, which has no subgenual cingulate; both sides are meant."""


INTEROCEPTIVE = tuple(
    f"{stem}_{side}"
    for name in ("thalamus", "hippocampus", "insula", "ACC", "vmPFC/sgACC")
    for stem in PLACES[name][:1]
    for side in "LR"
)
"""Regions of the five interoceptive places, one of each side: the usual inputs of a demonstration."""


def place(name: str, regions: Sequence[str]) -> tuple[str, ...]:
    """Return the regions of a place, both sides, checked against the label table at hand.

    Parameters
    ----------
    name
        One of `PLACES`.
    regions
        Names of the brain's regions.

    Raises
    ------
    InputError
        If one of its regions is missing: another atlas needs a design of its own.

    Examples
    --------
    >>> place("V1", ["Calcarine_L", "Calcarine_R", "Insula_L"])
    ('Calcarine_L', 'Calcarine_R')
    """
    wanted = tuple(f"{stem}_{side}" for stem in PLACES[name] for side in "LR")
    missing = [region for region in wanted if region not in regions]
    if missing:
        raise InputError(
            f"the default design means {name} by its AAL2 names, but this brain has no region '{missing[0]}'; give a "
            "design of your own with --design"
        )
    return wanted


def demonstration(inputs: Sequence[str], *, neurons: int = 5_000, members: int = 4, volumes: int = 120) -> Study:
    """Return a study of the sample person small enough for a tutorial.

    Parameters
    ----------
    inputs
        Regions whose drive is fitted.
    neurons
        Of the networks of the fit and of the twins.
    members
        Noises per twin; with five seeds 20 runs per condition.
    volumes
        Fitted and run.

    Examples
    --------
    >>> demonstration(["Thalamus_L"]).twin.neurons
    5000
    """
    study = study_from_dict(
        {
            "calibration": {"neurons_per_region": 53, "margin": False},
            "assimilation": {"inputs": list(inputs), "method": "inverse", "neurons": 15_040, "volumes": volumes},
            "twin": {"neurons": neurons, "members": members},
            "laminar": {"enabled": False},
        }
    )
    return msgspec.structs.replace(study, assimilation=msgspec.structs.replace(study.assimilation, repeats=2))
