"""Configuration of the documentation; tables and the list of public names are made from the code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

import twinbrain
from twinbrain.circuit import CANONICAL_SHARES, laminar
from twinbrain.config import parameter_table
from twinbrain.neuron import NeuronParameters, parameter_set, parameter_set_names

project = "twinbrain"
author = "twinbrain developers"
copyright = "twinbrain developers"
release = version = twinbrain.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "**/*.inc"]
html_theme = "furo"
html_title = f"twinbrain {release}"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

_GROUPS = {
    "Data and anatomy": [
        "Subject",
        "VoxelData",
        "load_sample",
        "sample_ids",
        "load_surface_sample",
        "read_subject",
        "Preparation",
        "Brain",
        "synthetic_bids",
        "auditory_person",
        "AuditoryPerson",
        "load_pain_sample",
    ],
    "Model": ["Network", "EdgeRule", "lesion", "Estimate", "ParameterSet", "parameter_set", "Drive"],
    "Working point": ["calibrate", "recentre", "WorkingPoint"],
    "Simulation": ["simulate", "Record", "Run"],
    "Beyond the copy": [
        "effective_connectivity",
        "EffectiveConnectivity",
        "private_variability",
        "PrivateVariability",
        "evidence",
        "Evidence",
    ],
    "Virtual experiments": [
        "run_experiment",
        "resume_experiment",
        "Design",
        "Condition",
        "Stimulus",
        "rewire_brain",
    ],
    "Fit and comparison": ["assimilate", "Fit", "fit_parameters", "ParameterFit", "compare", "Similarity"],
    "Analysis": [
        "analyse",
        "Analysis",
        "functional_connectivity",
        "partial_connectivity",
        "compare_edges",
        "compare_nodes",
        "between_subject_ceiling",
        "BetweenSubjects",
        "functional_connectivity_dynamics",
        "ConnectivityDynamics",
        "fcd_distance",
        "synchrony",
        "Synchrony",
        "spectra",
        "Spectra",
        "criticality",
        "criticality_of_counts",
        "Criticality",
        "distance_to_criticality",
        "CriticalityTrend",
        "granger",
        "Granger",
        "band_pass",
        "phase_randomise",
        "autoregressive",
        "distances_between",
        "surrogate_maps",
    ],
    "Tasks": ["trial_responses", "predict_scores", "ScorePrediction"],
    "Studies, results, report": ["Study", "read_study", "save", "load", "report", "export"],
    "Errors": ["InputError", "CorruptFile", "Interrupted"],
}


def _sets_table() -> str:
    """Every neuron parameter in every named set; bold where it differs from the first set."""
    sets = [parameter_set(name) for name in parameter_set_names()]
    rows = ["| parameter | " + " | ".join(f"`{s.name}`" for s in sets) + " |", "|---" * (len(sets) + 1) + "|"]
    for field in fields(NeuronParameters):
        values = [f"{getattr(s.neuron, field.name):g}" for s in sets]
        rows.append(f"| `{field.name}` | " + " | ".join(v if v == values[0] else f"**{v}**" for v in values) + " |")
    of_set = {
        "canonical shares": lambda s: str(s.canonical_shares),
        "long-range gain (laminar, canonical)": lambda s: ", ".join(f"{x:g}" for x in s.long_range_gain),
        "conductances scaled by": lambda s: s.conductance_scaling,
        "populations that differ": lambda s: str(len(s.populations) or "-"),
    }
    rows += [f"| {label} | " + " | ".join(get(s) for s in sets) + " |" for label, get in of_set.items()]
    rows += ["", *(f"* `{s.name}`: {s.reference}." for s in sets)]
    return "\n".join(rows) + "\n"


def _circuit_table() -> str:
    """The laminar column at a mean in-degree of 100, and the shares of the canonical circuit."""
    column = laminar()
    shares, degree = np.round(100 * column.sources, 1), column.in_degree(100)
    rows = [
        "| target | % of neurons | in-degree | "
        + " | ".join(f"from {p}" for p in column.populations)
        + " | from other voxels |",
        "|---" * (len(column.populations) + 4) + "|",
    ]
    for k, name in enumerate(column.populations):
        cells = " | ".join(f"{x:g}" for x in shares[k])
        rows.append(f"| {name} | {100 * column.fraction[k]:.1f} | {degree[k]} | {cells} |")
    rows += ["", "| canonical shares | from local E | from local I | from other voxels |", "|---|---|---|---|"]
    rows += [f"| `{k}` | " + " | ".join(f"{100 * x:.1f}" for x in v) + " |" for k, v in CANONICAL_SHARES.items()]
    return "\n".join(rows) + "\n"


def _public_names() -> str:
    """Autodoc directives for every public name, grouped; a name without a group is an error."""
    listed = [name for names in _GROUPS.values() for name in names]
    missing = set(twinbrain.__all__) - {"__version__"} ^ set(listed)
    if missing:
        raise ValueError(f"docs/conf.py: _GROUPS and twinbrain.__all__ differ in {sorted(missing)}")
    lines = []
    for title, names in _GROUPS.items():
        lines += [f"## {title}", ""]
        for name in names:
            thing = getattr(twinbrain, name)
            kind = (
                "function" if not isinstance(thing, type) else "exception" if issubclass(thing, Exception) else "class"
            )
            options = [":members:"] if kind == "class" and name != "Study" else []
            lines += ["```{eval-rst}", f".. auto{kind}:: twinbrain.{name}", *(f"   {o}" for o in options), "```", ""]
    return "\n".join(lines) + "\n"


_HERE = Path(__file__).parent / "api"
_HERE.mkdir(exist_ok=True)
for _name, _text in {
    "parameters": parameter_table(),
    "sets": _sets_table(),
    "circuits": _circuit_table(),
    "names": _public_names(),
}.items():
    (_HERE / f"{_name}.inc").write_text(_text, encoding="utf-8")
