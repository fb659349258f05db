"""Brian2, C++ standalone with OpenMP: double precision, forward Euler, one weight per synapse."""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Build, compile and run; print one JSON line."""
    c = json.loads(sys.argv[1])
    n, threads, folder = c["neurons"], c["threads"], os.path.join(c["folder"], "brian2")
    import brian2 as b
    import numpy as np

    b.set_device("cpp_standalone", directory=folder, build_on_run=False)
    b.prefs.devices.cpp_standalone.openmp_threads = threads if threads > 1 else 0
    flags = ["-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-std=c++14"]
    b.prefs.codegen.cpp.extra_compile_args_gcc = flags
    b.defaultclock.dt = 1 * b.ms
    b.seed(1)
    start = time.time()
    voxels = c["voxels"]
    size = n // voxels
    e, i = size * 4 // 5, size - size * 4 // 5
    ne = e * voxels
    names = ("A", "N", "a", "b")
    synaptic = "+".join(f"{2 * g}*s{k}*({v}-v)" for g, k, v in zip(c["g"], names, c["reversal_mv"], strict=True))
    decays = "\n".join(f"ds{k}/dt=-s{k}/({t}*ms) : 1" for k, t in zip(names, c["tau_ms"], strict=True))
    sigma = c["ou_std"] * (2 / c["ou_tau_ms"]) ** 0.5 * 0.95  # 0.95: what Euler at 1 ms adds to the variance
    equations = f"""
    dv/dt=(-{c["leak"]}*(v-({c["leak_mv"]}))+{synaptic}+I)/{c["capacitance"]}/ms : 1 (unless refractory)
    dI/dt=({c["ou_mean"]}-I)/({c["ou_tau_ms"]}*ms)+{sigma}*xi/ms**.5 : 1
    {decays}"""
    group = b.NeuronGroup(
        n, "\n".join(line.strip() for line in equations.splitlines()), method="euler",
        threshold=f"v>{c['threshold_mv']}", reset=f"v={c['reset_mv']}", refractory=c["refractory_ms"] * b.ms,
    )  # fmt: skip
    group.v = f"{c['leak_mv']}+25*rand()"
    group.I = c["ou_mean"]
    ex, inh = group[:ne], group[ne:]
    space = {"ME": e, "MI": i, "NE": ne, "KE": c["local_e"], "KI": c["local_i"], "KR": c["remote_e"]}
    plus = "sA_post+=w\nsN_post+=w"
    minus = "sa_post+=w\nsb_post+=w"
    kinds = [
        (ex, ex, plus, "(j//ME)*ME+int(rand()*ME) for _ in range(KE)"),
        (ex, inh, plus, "(j//MI)*ME+int(rand()*ME) for _ in range(KE)"),
        (ex, group, plus, "int(rand()*NE) for _ in range(KR)"),
        (inh, ex, minus, "(j//ME)*MI+int(rand()*MI) for _ in range(KI)"),
        (inh, inh, minus, "(j//MI)*MI+int(rand()*MI) for _ in range(KI)"),
    ]
    objects = [group]
    for source, target, action, rule in kinds:
        synapses = b.Synapses(source, target, "w : 1", on_pre=action, namespace=space)
        synapses.connect(i=rule)
        synapses.w = "rand()"
        objects.append(synapses)
    warm, rates = b.Network(objects), b.PopulationRateMonitor(group)
    warm.run(c["warm_up_ms"] * b.ms)
    warm.add(rates)
    warm.run(c["measured_ms"] * b.ms)
    b.device.build(directory=folder, compile=True, run=False)
    built = time.time()
    process = subprocess.Popen(["./main"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the compiled program ended with {status}")
    with open(os.path.join(folder, "results", "last_run_info.txt")) as file:
        wall = float(file.read().split()[0])
    found = [
        f for f in os.listdir(os.path.join(folder, "results")) if f.startswith(f"_dynamic_array_{rates.name}_rate")
    ]
    rate = float(np.fromfile(os.path.join(folder, "results", found[0]), np.float64).mean())
    print(json.dumps({
        "version": b.__version__, "wall_s": wall, "rate_hz": rate, "peak_memory_gb": usage.ru_maxrss * 1024 / 1e9,
        "set_up_s": built - start,
        "work": "double precision, forward Euler, one weight per synapse",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
