"""NEST: iaf_cond_exp (two channels) or gif_cond_exp_multisynapse (four ports), adaptive Runge-Kutta-Fehlberg."""

import json
import resource
import sys
import time


def main() -> None:
    """Build and run; print one JSON line."""
    c = json.loads(sys.argv[1])
    import nest
    import numpy as np

    four = c["model"] == "gif"
    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.local_num_threads = c["threads"]
    nest.resolution = 1.0
    start = time.time()
    voxels, micro = c["voxels"], 1e6
    size = c["neurons"] // voxels
    e, i = size * 4 // 5, size - size * 4 // 5
    common = {
        "C_m": c["capacitance"] * micro, "g_L": c["leak"] * micro, "E_L": c["leak_mv"], "V_reset": c["reset_mv"],
        "t_ref": c["refractory_ms"], "I_e": c["ou_mean"] * micro,
    }  # fmt: skip
    if four:
        extra = {
            "Delta_V": 0.1, "V_T_star": c["threshold_mv"], "lambda_0": 1000.0, "tau_syn": list(c["tau_ms"]),
            "E_rev": list(c["reversal_mv"]), "tau_sfa": [], "q_sfa": [], "tau_stc": [], "q_stc": [],
        }  # fmt: skip
        nest.CopyModel("gif_cond_exp_multisynapse", "neuron", common | extra)
    else:
        extra = {
            "V_th": c["threshold_mv"], "tau_syn_ex": c["tau_ms"][0], "tau_syn_in": c["tau_ms"][2],
            "E_ex": c["reversal_mv"][0], "E_in": c["reversal_mv"][2],
        }  # fmt: skip
        nest.CopyModel("iaf_cond_exp", "neuron", common | extra)
    random = np.random.default_rng(1)
    ex, inh = nest.Create("neuron", e * voxels), nest.Create("neuron", i * voxels)
    ex.V_m, inh.V_m = (random.uniform(c["leak_mv"], c["threshold_mv"], k) for k in (e * voxels, i * voxels))
    std = (
        c["ou_std"] * micro * (2 * c["ou_tau_ms"]) ** 0.5 * 0.9
    )  # white noise of about the same power at low frequency
    noise = nest.Create("noise_generator", params={"std": std, "dt": 1.0, "mean": 0.0})
    nest.Connect(noise, ex)
    nest.Connect(noise, inh)
    for k, g in enumerate(c["g"]):
        weight = g * micro if four or k < 2 else -g * micro
        nest.CopyModel("static_synapse_hom_w", f"s{k}", {"weight": weight, "delay": 1.0})
    channels = (0, 1, 2, 3) if four else (0, 2)
    for v in range(voxels):
        near_e, near_i = ex[v * e : (v + 1) * e], inh[v * i : (v + 1) * i]
        for target in (near_e, near_i):
            for k in channels:
                kind = {"synapse_model": f"s{k}"} | ({"receptor_type": k + 1} if four else {})
                sources = [(near_e, c["local_e"]), (ex, c["remote_e"])] if k < 2 else [(near_i, c["local_i"])]
                for source, degree in sources:
                    nest.Connect(source, target, {"rule": "fixed_indegree", "indegree": degree}, kind)
    nest.Prepare()
    nest.Run(float(c["warm_up_ms"]))
    built = time.time()
    nest.Run(float(c["measured_ms"]))
    wall = time.time() - built
    rate = nest.local_spike_counter / (size * voxels) / (c["measured_ms"] * 1e-3)  # it counts anew in every Run
    print(json.dumps({
        "version": nest.__version__, "wall_s": wall, "rate_hz": rate, "set_up_s": built - start,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "work": "double precision, adaptive step (RKF45), white noise, equal weights, "
        + ("four ports: two connections per synapse" if four else "two channels: one connection per synapse"),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
