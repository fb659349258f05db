"""Every experiment at the smallest size, in a process of its own: for tests that interrupt it or share it out.

python small_experiments.py NAME OUT CACHE
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from small_brain import NAMES, small_anatomy
from twinbrain import EdgeRule, Subject
from twinbrain.config import Study, study_from_dict
from twinbrain.experiment.auditory import auditory_person
from twinbrain.experiment.design import Condition, Design, Stimulus
from twinbrain.experiment.runner import run_experiment

VOLUMES = 40


def small_person(name: str, volumes: int = 60) -> Subject:
    """Twelve pairs of regions with places and a recording; for the task, 20 scored sounds."""
    anatomy = small_anatomy()
    if name == "task":
        return auditory_person(anatomy, trials=20, seed=3).subject
    rng = np.random.Generator(np.random.Philox(key=7))
    noise = rng.normal(size=(volumes + 20, len(NAMES)))
    series = np.stack([np.convolve(column, np.hanning(15), "same")[10:-10] for column in noise.T], axis=1)
    places = rng.normal(size=(len(NAMES), 3)) * 40
    return Subject.from_arrays(
        anatomy.connectome, NAMES, {"rest": series}, repetition_time_s=0.8, positions=places, name="small"
    )


def small_study(name: str) -> Study:
    """Networks of 600 neurons at no working point, a quick fit."""
    inputs = ["Heschl_L", "Heschl_R"] if name == "task" else ["Thalamus_L", "Thalamus_R"]
    fit = {"method": "vw-dhmda", "target_mean": 0.022, "target_scale": 0.004, "bounds": [0.0, 0.03], "warm_up": 1}
    fit |= {"inputs": inputs, "members": 3, "neurons": 600, "first_volume": 5, "volumes": VOLUMES}
    if name == "task":
        fit |= {"volumes": 80, "band_hz": [0.01, 0.2]}
    subject = {"subject": {"run": "auditory"}} if name == "task" else {}
    return study_from_dict(
        {
            **subject,
            "calibration": {"enabled": False},
            "network": {"in_degree": 50},
            "assimilation": fit,
            "twin": {"neurons": 600, "warm_up": 1, "members": 1},
            "laminar": {"enabled": False},
        }
    )


def small_design(name: str) -> Design:
    """Three or four conditions of every experiment, two seeds."""
    rest = {"drive": "none", "volumes": 12}
    pulse = Stimulus(target="Insula_L", amplitude=0.1, start_s=1.6, every_s=1.6, duration_s=0.2)
    cut = EdgeRule(source="Calcarine_L", target=["Cuneus_L"], reach="long_range")
    moved = {"control": "first", "rewire": "nearest", "strongest": 0.4}
    five = ("Thalamus", "Hippocampus", "Insula", "Cingulate_Ant", "Frontal_Med_Orb")
    rows = {
        "scaling": [Condition(name=f"{n}", neurons=n, members=2) for n in (300, 600, 1200)],
        "rewiring": [Condition(name="first"), *(Condition(name=f"P = {p}", share=p, **moved) for p in (0.5, 1.0))],
        "inputs": [
            Condition(name="first", inputs=tuple(f"{n}_{side}" for n in five for side in "LR")),
            Condition(name="thalamus", control="first", inputs=("Thalamus_L", "Thalamus_R")),
        ],
        "task": [
            Condition(name="first"),
            Condition(name="shifted drive", control="first", drive="shifted"),
            Condition(name="P = 1", share=1.0, **{**moved, "rewire": "degrees"}),
        ],
        "lesion": [
            Condition(name="first"),
            Condition(name="cut", control="first", rules=(cut,)),
            Condition(name="random", control="first", like="cut"),
        ],
        "stimulate": [
            Condition(name="no stimulus", **rest),
            Condition(name="sham", control="no stimulus", noise=1, **rest),
            Condition(name="pulses", control="no stimulus", stimuli=(pulse,), **rest),
        ],
    }
    keep = {"scaling": ("totals",), "stimulate": ("rate_bins",)}.get(name, ())
    settings = {"lesion": {"watched": ["Hippocampus_L"]}, "task": {"permutations": 99}}.get(name, {})
    resolution = 0.01 if name == "stimulate" else 0.0
    return Design(
        experiment=name,
        conditions=tuple(rows[name]),
        seeds=(1, 2),
        keep=keep,
        settings=settings,
        resolution_s=resolution,
    )


def run_small(name: str, out: Path, cache: Path, finish: Callable[[Path], object] | None = None) -> None:
    """Run one experiment, or go on with it."""
    run_experiment(
        name,
        small_study(name),
        out,
        design=small_design(name),
        people={"": small_person(name)},
        cache=cache,
        processes=1,
        progress=False,
        finish=finish,
    )


if __name__ == "__main__":
    run_small(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
