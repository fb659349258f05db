"""``twinbrain bench``: everything in one run, as JSON, a table and one figure."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
from pathlib import Path
from typing import Any

from twinbrain.bench.bandwidth import BYTES_PER_EVENT, BYTES_PER_UPDATE, in_place_bandwidth
from twinbrain.bench.cases import measure_build, measure_cases, measure_run, peak_memory_gb
from twinbrain.bench.networks import common_network
from twinbrain.bench.others import PEERS, measure_peer
from twinbrain.parallel import check_threads

__all__ = ["Targets", "figure", "run_bench", "table"]

_LOG = logging.getLogger(__name__)

#: What this project asks of itself, as ratios within one run: (measured, bound, what it says).
Targets = list[tuple[str, float, float, str]]


def run_bench(
    neurons: int = 1_000_000, threads: int = 0, *, peers: Path | None = None, names: tuple[str, ...] = tuple(PEERS)
) -> dict[str, Any]:
    """Measure this machine, this project and, if their environments are given, its peers.

    Parameters
    ----------
    neurons
        Size of the benchmark network.
    threads
        Threads of all simulators; 0 for all processors.
    peers
        Folder of the peers' environments; None measures this project alone.
    names
        Which peers.

    Returns
    -------
    dict
        ``machine``, ``cases``, ``peers`` and ``targets``: plain numbers and strings.
    """
    threads = check_threads(threads)
    bandwidth = in_place_bandwidth(threads)
    _LOG.info("memory, read and written in place on %d thread(s): %.1f GB/s", threads, bandwidth / 1e9)
    cases = measure_cases(neurons, threads, bandwidth, lambda line: _LOG.info("%s", line))
    result: dict[str, Any] = {
        "machine": {
            "processor": _processor(), "processors": os.cpu_count(), "threads": threads,
            "bandwidth_gb_s": bandwidth / 1e9, "python": platform.python_version(),
            "bytes_per_update": BYTES_PER_UPDATE, "bytes_per_event": BYTES_PER_EVENT,
        },
        "cases": [c.to_dict() for c in cases],
        "peers": {},
    }  # fmt: skip
    if peers is not None:
        for name in names:
            _LOG.info("%s: %d neurons", name, PEERS[name].neurons)
            found = measure_peer(name, peers, threads)
            if "skipped" not in found:
                found["ours_wall_s"] = _ours_at(found["neurons"], found["steps"], threads, result)
                found["times_ours"] = found["wall_s"] / found["ours_wall_s"]
                _LOG.info("%s takes %.1f times as long", name, found["times_ours"])
            else:
                _LOG.info("%s", found["skipped"])
            result["peers"][name] = found
    result["machine"]["peak_memory_gb"] = peak_memory_gb()
    result["targets"] = [
        {"what": what, "found": found, "bound": bound, "met": bool(found <= bound) if at_most else bool(found >= bound)}
        for what, found, bound, at_most in _targets(result)
    ]
    return result


def _ours_at(neurons: int, steps: int, threads: int, result: dict[str, Any]) -> float:
    """Wall time of ours for the same work, from the same run."""
    for case in result["cases"]:
        if case["name"] == "run" and case["neurons"] == neurons:
            return float(case["wall_s"] / case["steps"] * steps)
    network = common_network(neurons)
    _, wiring = measure_build(network, threads)
    case = measure_run(network, threads, name="run", wiring=wiring)
    result["cases"].append(case.to_dict())
    return case.wall_s / case.steps * steps


def _targets(result: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    case = {c["name"]: c for c in reversed(result["cases"])}
    ns = {name: c["ns_per_update"] for name, c in case.items()}
    rows = [
        ("benchmark network: wall time over the floor of memory", case["run"]["times_floor"], 1.6, True),
        ("laminar circuit over canonical, same brain and size", ns["laminar"] / ns["canonical"], 1.3, True),
        ("a step of 0.1 ms over one of 1 ms", ns["substeps"] / ns["run"], 0.5, True),
        ("45 members over one network of as many neurons", ns["ensemble"] / ns["one"], 1.3, True),
        ("seconds to build 10^8 synapses", 1e8 * case["build"]["wall_s"] / case["build"]["synapses"], 5.0, True),
    ]
    for name, bound in (("brian2", 15.0), ("jax", 8.0), ("nest", 150.0), ("nest_four_ports", 300.0)):
        found = result["peers"].get(name, {})
        if "times_ours" in found:
            rows.append((f"{name}: times our wall time", found["times_ours"], bound, False))
    return rows


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown tables.

    Examples
    --------
    >>> print(table({"machine": {"processor": "x", "threads": 1, "bandwidth_gb_s": 20.0}, "cases": [], "peers": {},
    ...              "targets": []}).splitlines()[0])
    Measured on x with 1 thread(s); memory 20.0 GB/s read and written in place.
    """
    m = result["machine"]
    lines = [
        f"Measured on {m['processor']} with {m['threads']} thread(s); "
        f"memory {m['bandwidth_gb_s']:.1f} GB/s read and written in place.",
        "",
        "| case | neurons | members | rate Hz | ns per update | million events per s | wall s per biological s |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in result["cases"]:
        if c["name"] == "build":
            lines.append(f"| build ({c['wall_s']:.2f} s) | {c['neurons']:,} | 1 | | | | |")
            continue
        lines.append(
            f"| {c['name']} | {c['neurons']:,} | {c['members']} | {c['rate_hz']:.1f} | {c['ns_per_update']:.2f} | "
            f"{c['million_events_per_s']:.0f} | {c['wall_per_biological_s']:.3g} |"
        )
    if result["peers"]:
        lines += ["", "| peer | neurons | rate Hz | wall s per biological s | times ours | set-up s | its work |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for name, p in result["peers"].items():
            if "skipped" in p:
                lines.append(f"| {name} | | | | | | not measured: {p['skipped']} |")
                continue
            lines.append(
                f"| {name} {p['version']} | {p['neurons']:,} | {p['rate_hz']:.1f} | "
                f"{p['wall_s'] / (p['steps'] * 1e-3):.3g} | {p['times_ours']:.1f} | {p['set_up_s']:.1f} | {p['work']} |"
            )
    if result["targets"]:
        lines += ["", "| target | found | bound | |", "|---|---|---|---|"]
        lines += [
            f"| {t['what']} | {t['found']:.3g} | {t['bound']:g} | {'met' if t['met'] else '**missed**'} |"
            for t in result["targets"]
        ]
    return "\n".join(lines)


def figure(result: dict[str, Any], path: Path) -> None:
    """Draw wall time per biological second of everything that ran the benchmark network, as an SVG file."""
    from matplotlib.figure import Figure

    ours = {c["neurons"]: c["wall_per_biological_s"] for c in result["cases"] if c["name"] == "run"}
    bars = [(f"twinbrain, {n:,} neurons", s, "#3b6ea5") for n, s in sorted(ours.items())]
    for name, p in result["peers"].items():
        if "wall_s" in p:
            label = f"{name.replace('_', ' ')}, {p['neurons']:,} neurons"
            bars.append((label, p["wall_s"] / (p["steps"] * 1e-3), "#b0b7bf"))
    drawing = Figure(figsize=(7.5, 0.9 + 0.42 * len(bars)), layout="constrained")
    axes = drawing.subplots()
    names, seconds, colours = zip(*bars[::-1], strict=True)
    axes.barh(names, seconds, color=colours)
    axes.set_xscale("log")
    for k, s in enumerate(seconds):
        axes.annotate(f"{s:.3g} s", (s, k), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(min(seconds) / 2, max(seconds) * 4)
    axes.set_xlabel(f"wall time per biological second, s ({result['machine']['threads']} threads, one run)")
    axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, format="svg", metadata={"Date": None})


def write(result: dict[str, Any], path: Path) -> None:
    """Write the result as JSON."""
    clean = json.loads(json.dumps(result), parse_constant=lambda _: None)
    path.write_text(json.dumps(_finite(clean), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not know."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
