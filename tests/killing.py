"""Run a simulation that is killed at random moments until so many kills are done; compare with a run left alone.

A script of its own (``python killing.py FOLDER KILLS SEED``): its children are forked after the kernels are loaded, so
that a kill costs a fraction of a second.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from twinbrain.brain import Brain
from twinbrain.data.subject import Subject
from twinbrain.network import Network
from twinbrain.record import Record
from twinbrain.simulate import simulate
from twinbrain.store import Checkpoint, read_spikes


def run(folder: Path, seed: int = 0) -> str:
    """Simulate with a checkpoint after every sample; return a hash of everything that came out."""
    person = Subject.from_arrays([[0, 1, 2.0], [1, 0, 1], [2, 1, 0]], ["a", "b", "c"])
    network = Network(Brain.from_subject(person), neurons=3000, in_degree=40, circuit="canonical", parameters="open")
    record = Record(
        spikes=range(0, 3000, 3), spikes_folder=folder / "spikes", voltages=[5], currents=[7], rate_bin_ms=8.0,
        voxel_means_every_ms=20.0,
    )  # fmt: skip
    result = simulate(
        network, 1.0, repetition_time_s=0.025, warm_up_s=0.05, seed=seed, members=2, record=record,
        checkpoint=Checkpoint(folder / "checkpoint", "run"), checkpoint_every_s=0.0,
    )  # fmt: skip
    digest = hashlib.sha256()
    for array in (result.firing_rate, result.bold, result.totals, result.binned_rate):
        digest.update(np.ascontiguousarray(array.values).tobytes())
    for table in (result.traces, result.voxel_means, read_spikes(folder / "spikes")):
        for name in sorted(table):
            digest.update(np.ascontiguousarray(table[name].values).tobytes())
    for name in sorted(result.state):
        digest.update(np.ascontiguousarray(result.state[name]).tobytes())
    return digest.hexdigest()


def main(place: Path, kills: int, seed: int) -> None:
    """Kill and resume; fail loudly if a resumed run differs. The control is another seed."""
    random = np.random.default_rng(seed)
    expected = run(place / "whole")
    start = time.perf_counter()
    other = run(place / "other", seed=1)
    seconds = time.perf_counter() - start
    if other == expected:
        raise SystemExit("the comparison cannot tell two runs apart")
    done, finished = 0, 0
    while done < kills:
        folder = place / f"run{finished}"
        while True:
            child = os.fork()
            if child == 0:
                (place / "found").write_text(run(folder))
                os._exit(0)
            if done < kills:
                time.sleep(float(random.uniform(0, 0.6 * seconds)))
            ended, status = os.waitpid(child, os.WNOHANG if done < kills else 0)
            if ended:
                if status:
                    raise SystemExit(f"a resumed run failed with {status}")
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            done += 1
        if (place / "found").read_text() != expected:
            raise SystemExit(f"run {finished} differs after {done} kills")
        finished += 1
    sys.stdout.write(f"{done} kills, {finished} runs, all equal\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
