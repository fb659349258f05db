"""How near the estimate comes: five networks, foretold by a trial and then run; wanted: memory 20 %, time a factor 1.5.

Run ``python docs/make_estimates.py [--threads N] [--scale X]``; it prints one row of a Markdown table for each network.
Every network is foretold and run in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import twinbrain as tb
from twinbrain.bench.networks import sample_like_brain
from twinbrain.trial import trial

#: Name -> level or voxel size in mm, circuit, neurons, members, wiring, simulated s.
CASES: dict[str, tuple[Any, str, int, int, str, float]] = {
    "regions, canonical, stored": (None, "canonical", 1_000_000, 1, "stored", 1.0),
    "regions, laminar, procedural": (None, "laminar", 600_000, 1, "procedural", 1.0),
    "voxels of 8 mm, laminar, stored": (8.0, "laminar", 500_000, 1, "stored", 1.0),
    "ensemble of 30": (None, "canonical", 15_040, 30, "stored", 4.0),
    "voxels of 4 mm, canonical, procedural": (4.0, "canonical", 3_000_000, 1, "procedural", 0.3),
}


def case(name: str, threads: int, scale: float) -> dict[str, Any]:
    """Foretell and run one network."""
    voxel_mm, circuit, neurons, members, wiring, seconds = CASES[name]
    brain = sample_like_brain()
    if voxel_mm is not None:
        brain = tb.Brain.from_subject(tb.load_sample("101309"), level="voxel", voxel_mm=voxel_mm)
    net = tb.Network(brain, max(int(neurons * scale), 2 * len(brain.voxels)), in_degree=100, circuit=circuit, seed=1)
    begun = time.perf_counter()
    foretold = trial(net, seconds, members=members, threads=threads, wiring=wiring)
    trial_s, begun = time.perf_counter() - begun, time.perf_counter()
    run = tb.simulate(net, seconds, repetition_time_s=0.1, members=members, threads=threads, wiring=wiring)
    wall = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {
        "name": name, "neurons": net.neurons, "members": members, "trial_s": trial_s, "rate_hz": run.mean_rate_hz,
        "foretold_s": foretold.build_s + foretold.run_s, "wall_s": wall, "foretold_gb": foretold.peak_memory_gb,
        "peak_gb": peak,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all sizes, for a quick look")
    parser.add_argument("--case", choices=CASES, help="one of them, as JSON")
    options = parser.parse_args(argv)
    if options.case:
        sys.stdout.write(json.dumps(case(options.case, options.threads, options.scale)) + "\n")
        return
    sys.stdout.write(
        "| network | neurons | trial s | s foretold | s taken | ratio | GB foretold | GB taken | ratio |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|---|---|\n")
    for name in CASES:
        words = [sys.executable, __file__, "--case", name, "--threads", str(options.threads)]
        done = subprocess.run([*words, "--scale", str(options.scale)], capture_output=True, text=True, check=True)
        c = json.loads(done.stdout.strip().splitlines()[-1])
        size = f"{c['neurons']:,}" + (f" x {c['members']}" if c["members"] > 1 else "")
        sys.stdout.write(
            f"| {name} | {size} | {c['trial_s']:.0f} | {c['foretold_s']:.1f} | {c['wall_s']:.1f} | "
            f"{c['wall_s'] / c['foretold_s']:.2f} | {c['foretold_gb']:.2f} | {c['peak_gb']:.2f} | "
            f"{c['peak_gb'] / c['foretold_gb']:.2f} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
