"""JAX with brainevent: single precision, event-driven CSR product with one weight per synapse."""

import json
import os
import resource
import sys
import time


def main() -> None:
    """Build and run; print one JSON line."""
    c = json.loads(sys.argv[1])
    threads = c["threads"]
    eigen = "true" if threads > 1 else "false"
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    import brainevent
    import jax
    import jax.numpy as jnp
    import jax.random as keyed
    import numpy as np

    start = time.time()
    voxels = c["voxels"]
    size = c["neurons"] // voxels
    n = size * voxels
    e, i = size * 4 // 5, size - size * 4 // 5
    ne = e * voxels
    random = np.random.default_rng(1)

    def lists(source: "np.ndarray", target: "np.ndarray", sources: int) -> "brainevent.CSR":
        order = np.argsort(source, kind="stable")
        pointer = np.zeros(sources + 1, np.int32)
        np.cumsum(np.bincount(source, minlength=sources), out=pointer[1:])
        weight = random.random(len(order), dtype=np.float32)
        index = target[order].astype(np.int32)
        return brainevent.CSR((jnp.asarray(weight), jnp.asarray(index), jnp.asarray(pointer)), shape=(sources, n))

    ids = np.arange(n)
    home = np.where(ids < ne, ids // e, (ids - ne) // i).astype(np.int32)
    near, far, minus = c["local_e"], c["remote_e"], c["local_i"]
    s = np.empty((n, near + far), np.int32)
    s[:, :near] = random.integers(0, e, (n, near), dtype=np.int32) + home[:, None] * e
    s[:, near:] = random.integers(0, ne, (n, far), dtype=np.int32)
    plus = lists(s.ravel(), np.repeat(ids.astype(np.int32), near + far), ne)
    s = random.integers(0, i, (n, minus), dtype=np.int32) + home[:, None] * i
    down = lists(s.ravel(), np.repeat(ids.astype(np.int32), minus), n - ne)
    del s
    array = getattr(brainevent, "BinaryArray", None) or brainevent.EventArray
    decay = [float(np.exp(-1 / t)) for t in c["tau_ms"]]
    keep = float(np.exp(-1 / c["ou_tau_ms"]))
    kick = c["ou_std"] * (1 - keep**2) ** 0.5
    g = [2 * x for x in c["g"]]

    def step(carry, key):  # type: ignore[no-untyped-def]
        v, current, a, m, p, q, held, spike = carry
        up, low = array(spike[:ne]) @ plus, array(spike[ne:]) @ down
        a, m, p, q = a + up, m + up, p + low, q + low
        current = c["ou_mean"] + (current - c["ou_mean"]) * keep + kick * keyed.normal(key, (n,), jnp.float32)
        synaptic = sum(gk * x * (r - v) for gk, x, r in zip(g, (a, m, p, q), c["reversal_mv"], strict=True))
        dv = (-c["leak"] * (v - c["leak_mv"]) + synaptic + current) / c["capacitance"]
        v = jnp.where(held <= 0, v + dv, c["reset_mv"])
        spike = v > c["threshold_mv"]
        v = jnp.where(spike, c["reset_mv"], v)
        held = jnp.where(spike, c["refractory_ms"], held - 1.0)
        return (v, current, a * decay[0], m * decay[1], p * decay[2], q * decay[3], held, spike), jnp.sum(spike)

    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))
    zero = jnp.zeros(n, jnp.float32)
    v = jnp.asarray(random.uniform(c["leak_mv"], c["threshold_mv"], n).astype(np.float32))
    carry = (v, zero + c["ou_mean"], zero, zero, zero, zero, zero, jnp.zeros(n, bool))
    keys = keyed.split(keyed.key(0, impl="threefry2x32"), c["warm_up_ms"] + 2 * c["measured_ms"])
    for first in range(0, c["warm_up_ms"], c["measured_ms"]):  # pieces of one length: one compilation
        carry, count = run(carry, keys[first : first + c["measured_ms"]])
        count.block_until_ready()
    built = time.time()
    carry, count = run(carry, keys[-c["measured_ms"] :])
    count.block_until_ready()
    wall = time.time() - built
    print(json.dumps({
        "version": f"jax {jax.__version__}, brainevent {brainevent.__version__}", "wall_s": wall,
        "rate_hz": float(count.sum()) / n / (c["measured_ms"] * 1e-3), "set_up_s": built - start,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "work": "single precision, forward Euler for V, exact decay, one weight per synapse",
    }))  # fmt: skip


if __name__ == "__main__":
    main()
