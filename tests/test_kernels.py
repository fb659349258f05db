"""Kernels: the hot loops are vectorised, and edited sources are compiled anew."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features
from numba import njit

import twinbrain
from twinbrain.kernels.random import fill_normals
from twinbrain.kernels.update import BLOCK, STRIDE, Layout, update_block


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@pytest.mark.parametrize("exponential", [False, True])
def test_the_hot_loops_are_vectorised(exponential: bool) -> None:
    layout = Layout(live=(True, True, True, False), varying=(), gained=True, exponential=exponential)
    constants = layout.constants

    @njit(nogil=True, boundscheck=False, error_model="numpy")
    def update(s, a, fired, z, q, c):
        update_block(s, a[0], a[1], a[2], fired, z, q, c, constants, True)

    @njit(nogil=True, boundscheck=False, error_model="numpy")
    def noise(z, k):
        fill_normals(z, 0, 1, k[0], k[1], z.shape[0])

    @njit(nogil=True, boundscheck=False, error_model="numpy")
    def scalar(x, y):
        for i in range(x.shape[0]):
            y[x[i]] = y[x[i]] * np.float32(0.5)  # indirect: cannot be vectorised

    update(
        np.zeros(layout.n_rows * STRIDE, np.float32),
        np.zeros((layout.n_ports, BLOCK), np.uint32),
        np.zeros(BLOCK, np.uint8),
        np.zeros(BLOCK, np.float32),
        np.zeros(16, np.float32),
        np.zeros(21, np.float32),
    )
    noise(np.zeros(BLOCK, np.float32), np.zeros(2, np.uint64))
    scalar(np.zeros(8, np.int64), np.zeros(8, np.float32))
    text = {f.__name__: next(iter(f.inspect_asm().values())) for f in (update, noise, scalar)}
    assert text["update"].count("mulps") >= 8
    assert (text["update"].count("divps") > 0) == exponential
    features = get_host_cpu_features()
    register = "zmm" if features.get("avx512f") else "ymm" if features.get("avx2") else "xmm"
    for name in ("update", "noise"):
        packed = [line for line in text[name].splitlines() if "mulps" in line]
        assert sum(register in line for line in packed) >= 0.9 * len(packed), name
    assert text["noise"].count("mulps") >= 20
    assert text["noise"].count("sqrtps") >= 1
    assert "vfmadd" not in text["update"] + text["noise"]  # no contraction: the same bits everywhere
    assert text["scalar"].count("mulps") == 0


RATE = """
import numpy as np
from twinbrain import Brain, Network, Subject
from twinbrain.engine import Simulation
b = Brain.from_subject(Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"]))
n = Network(b, neurons=300, in_degree=10, seed=1)
s = Simulation(n)
s.advance(50)
print(repr(float(s.voltage().astype(np.float64).sum())), int(n.wire().targets.astype(np.int64)[:50].sum()))
"""


@pytest.mark.slow
def test_an_edited_kernel_is_compiled_anew(tmp_path: Path) -> None:
    """Also when the edited file is not that of the outermost function, by which Numba keys its cache."""
    source = Path(twinbrain.__file__).parent
    shutil.copytree(source, tmp_path / "twinbrain")

    def run() -> list[str]:
        command = [sys.executable, "-c", RATE]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    first = run()
    assert run() == first
    file = tmp_path / "twinbrain" / "kernels" / "random.py"
    file.write_text(file.read_text().replace("U64(0xD2511F53)", "U64(0xD2511F55)"))
    second = run()
    assert second[0] != first[0]
    assert second[1] != first[1]


ONE_STEP = """
from twinbrain import Brain, Network, Subject
from twinbrain.engine import Simulation
from twinbrain.kernels.initial import make_initial
from twinbrain.kernels.random import source_checksum
from twinbrain.kernels.wiring import _make_lists
brain = Brain.from_subject(Subject.from_arrays([[0.0, 1.0], [1.0, 0.0]], ["a", "b"], name="made up"))
engine = Simulation(Network(brain, 400, seed=1))
engine.advance(1)
for kernel in (engine._advance, make_initial(), _make_lists(source_checksum())):
    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def test_a_second_process_finds_the_kernels_that_the_first_compiled(tmp_path: Path) -> None:
    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", ONE_STEP], capture_output=True, text=True, check=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        )  # fmt: skip
        return done.stdout.splitlines()

    assert run() == ["0 1"] * 3
    assert run() == ["1 0"] * 3
