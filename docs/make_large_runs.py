"""The largest networks on one machine: a laminar brain of 18,547 voxels with 10^8 or 10^9 neurons of in-degree 100.

Run ``python docs/make_large_runs.py --neurons 100000000 --steps 1000`` for the first and ``--neurons 1000000000 --steps
50 --state float16`` for the second; each prints one line of JSON. The brain is that of
the sample person 101309 in voxels of 4 mm, the wiring is procedural, dt is 1 ms. The working point is that of
:func:`twinbrain.calibrate` on the same brain (``--calibrate`` finds it anew and prints it).
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from dataclasses import replace

import numpy as np

import twinbrain as tb
from twinbrain.simulate import Simulation

LOG = logging.getLogger(__name__)
PIECE = 10  # steps that are timed together

#: What ``--calibrate`` found (4 Hz, loop gain 0.65): background mean, and chi of laminar and of other voxels.
MEAN, CHI = 0.3802960075842964, (2.556888484925934, 3.532391832737039)


def network(neurons: int, state: str = "float32") -> tb.Network:
    """Return the laminar network at its named working point."""
    brain = tb.Brain.from_subject(tb.load_sample("101309"), level="voxel", voxel_mm=4.0)
    point = replace(tb.parameter_set("asynchronous_laminar").changed(background_mean=MEAN), long_range_gain=CHI)
    return tb.Network(brain, neurons, in_degree=100, circuit="laminar", parameters=point, seed=1, state_dtype=state)


def peak_gb() -> float:
    """Largest memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(argv: list[str] | None = None) -> None:
    """Build, run, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=100_000_000)
    parser.add_argument("--steps", type=int, default=1000, help="of 1 ms")
    parser.add_argument("--state", choices=("float32", "float16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.calibrate:
        point = tb.calibrate(network(1_000_000), threads=options.threads, margin=False)
        sys.stdout.write(json.dumps(point.network.set.to_dict()) + "\n")
        return
    net = network(options.neurons, options.state)
    begun = time.perf_counter()
    engine = Simulation(net, threads=options.threads, wiring="procedural")
    engine.record_totals()
    set_up = time.perf_counter() - begun
    seconds = []
    for _ in range(0, options.steps, PIECE):
        begun = time.perf_counter()
        engine.advance(PIECE)
        seconds.append(round((time.perf_counter() - begun) / PIECE, 3))
        LOG.info("step %d: %.2f s a step", engine.step, seconds[-1])
    assert engine.totals is not None
    rates = np.concatenate(engine.totals, axis=1)[0] / net.neurons * 1000
    settled = len(seconds) // 2
    line = {
        "neurons": net.neurons, "synapses": net.synapses, "voxels": len(net.brain.voxels), "steps": engine.step,
        "state": options.state, "threads": options.threads, "set_up_s": round(set_up, 1),
        "run_s": round(sum(seconds) * PIECE, 1), "s_per_step_later": round(float(np.mean(seconds[settled:])), 3),
        "peak_memory_gb": round(peak_gb(), 2), "rate_hz": round(float(rates.mean()), 2),
        "rate_later_hz": round(float(rates[settled * PIECE :].mean()), 2),
        "rates_hz": rates[:: PIECE // 2].round(2).tolist(),
    }  # fmt: skip
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
