"""Time and memory of the analysis of a voxel brain, 18,547 voxels x 1,200 volumes; wanted: 2 minutes, 6 GB, 2 cores.

Run ``python docs/make_voxel_benchmark.py [--voxels N] [--volumes N] [--nulls N] [--out FILE]``; it prints one line of
JSON.
The BOLD is made up: slow noise with a part common to all and a part common to each of 94 regions.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

import twinbrain as tb

REPETITION_TIME_S = 0.72
REGIONS = 94


def voxel_bold(voxels: int, volumes: int, seed: int = 0) -> xr.DataArray:
    """Made-up BOLD (time, voxel), float32, of voxels that belong to regions."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    region = np.sort(rng.integers(0, REGIONS, voxels))

    def slow(count: int) -> np.ndarray:
        noise = rng.normal(size=(volumes, count)).astype(np.float32)
        for t in range(1, volumes):
            noise[t] += 0.9 * noise[t - 1]
        return noise

    shared = slow(1) + slow(REGIONS)
    return xr.DataArray(
        shared[:, region] + 2 * slow(voxels),
        dims=("time", "voxel"),
        coords={
            "time": np.arange(volumes) * REPETITION_TIME_S,
            "region": ("voxel", [f"R{k}" for k in region]),
            "weight": ("voxel", np.ones(voxels)),
        },
        attrs={"units": "1"},
    )


def main(argv: list[str] | None = None) -> None:
    """Make the series, analyse them, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=18_547)
    parser.add_argument("--volumes", type=int, default=1_200)
    parser.add_argument("--nulls", type=int, default=5)
    parser.add_argument("--out", help="also write the line to this file")
    options = parser.parse_args(argv)
    bold = voxel_bold(options.voxels, options.volumes)
    line: dict[str, float] = {"voxels": options.voxels, "volumes": options.volumes, "nulls": options.nulls}
    begun = time.perf_counter()
    for part in ("similarity", "synchrony", "spectra", "criticality"):
        start = time.perf_counter()
        tb.analyse(bold, what=part, nulls=options.nulls)
        line[f"{part}_s"] = round(time.perf_counter() - start, 1)
    line["seconds"] = round(time.perf_counter() - begun, 1)
    line["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    text = json.dumps(line)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
