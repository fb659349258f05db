"""Which inputs make a twin resemble the person most: interoceptive regions, the thalamus, the senses, or any?"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pandas as pd

from twinbrain.analyse._numeric import pearson, standardise
from twinbrain.config import Study
from twinbrain.errors import InputError
from twinbrain.experiment.demonstration import PLACES, demonstration, place
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.drives import combined_links, drive_links, drive_spectra, place_series
from twinbrain.experiment.findings import Chart, Claim, Experiment, Findings
from twinbrain.experiment.results import Results
from twinbrain.experiment.stats import Difference, holm, mean_interval, paired, unpaired

__all__ = ["EXPERIMENT", "FIVE", "compare_sets", "random_sets"]

FIVE = ("thalamus", "hippocampus", "insula", "ACC", "vmPFC/sgACC")
"""Places of the published interoceptive set; their AAL2 names are those of `PLACES`."""

LINKS = (("thalamus", "ACC"), ("thalamus", "insula"), ("vmPFC/sgACC", "ACC"), ("thalamus", "hippocampus"))
"""The strong links that were published."""

_SENSES = ("Calcarine", "Heschl", "Postcentral", "Olfactory", "Occipital_Inf", "Temporal_Sup")
_RANDOM = 5
_SHOWN = 120
_FINE_HZ = 0.01  # resolution above which a peak at 0.020-0.025 Hz cannot be told
_PUBLISHED = "similarity significantly higher with the interoceptive regions as inputs (two-sample t, figure not given)"
_PEAK = (0.02, 0.025)


def _study() -> Study:
    study = demonstration(["Thalamus_L", "Thalamus_R"], members=1, volumes=300)
    fit = msgspec.structs.replace(study.assimilation, neurons=5_000, repeats=1)  # there is one for every set of inputs
    return msgspec.structs.replace(study, assimilation=fit)


def random_sets(
    regions: tuple[str, ...], like: tuple[str, ...], count: int = _RANDOM, seed: int = 0
) -> list[tuple[str, ...]]:
    """Draw sets of as many pairs of regions (left and right) as another set has, none of its own among them.

    Parameters
    ----------
    regions
        Names of all regions, pairs ending in _L and _R.
    like
        The set whose size is matched and whose regions are spared.
    count, seed
        How many, and the key of the draws.

    Raises
    ------
    InputError
        If there are too few other pairs.

    Examples
    --------
    >>> names = tuple(f"{n}_{side}" for n in "ABCDE" for side in "LR")
    >>> [len(s) for s in random_sets(names, ("A_L", "A_R", "B_L", "B_R"), 2)]
    [4, 4]
    """
    pairs = [n[:-2] for n in regions if n.endswith("_L") and f"{n[:-2]}_R" in regions]
    others = [n for n in pairs if f"{n}_L" not in like and f"{n}_R" not in like]
    size = len(like) // 2
    if len(others) < size or size < 1:
        raise InputError(f"random inputs: {size} pairs are wanted, but {len(others)} are left; name a smaller set.")
    random = np.random.Generator(np.random.Philox(key=np.array([seed, 91], np.uint64)))
    drawn = [sorted(random.choice(len(others), size, replace=False)) for _ in range(count)]
    return [tuple(f"{others[k]}_{side}" for k in one for side in "LR") for one in drawn]


def _design(study: Study, regions: tuple[str, ...]) -> Design:
    core = tuple(name for p in FIVE for name in place(p, regions))
    senses = tuple(f"{stem}_{side}" for stem in _SENSES for side in "LR")
    first = "interoceptive"
    rows = [
        Condition(name=first, inputs=core, note="thalamus, hippocampus, insula, ACC, vmPFC/sgACC"),
        Condition(name="thalamus", control=first, inputs=place("thalamus", regions), note="alone: fewer inputs"),
        *(
            Condition(name=f"random {k}", control=first, inputs=chosen, note="as many regions, drawn at random")
            for k, chosen in enumerate(random_sets(regions, core), 1)
        ),
        Condition(name="shifted", control=first, inputs=core, drive="shifted", note="the right inputs at a wrong time"),
    ]
    if all(name in regions for name in senses):
        rows.insert(2, Condition(name="senses", control=first, inputs=senses, note="as many sensory regions"))
    shown = min(_SHOWN, study.assimilation.volumes)  # twins run shorter than the drives, whose spectra need length
    rows = [msgspec.structs.replace(c, volumes=shown) for c in rows]
    return Design(experiment="inputs", conditions=tuple(rows), seeds=(1, 2, 3))


def compare_sets(regions: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Compare the first condition with every other on the regions that are input in none.

    Parameters
    ----------
    regions
        Second table of :meth:`twinbrain.experiment.results.Results.similarity`.
    design
        Its first condition is held against the others.

    Returns
    -------
    pandas.DataFrame
        One row per condition and ``test``: "paired" and "unpaired" over wirings (over people, if several), and
        "regions": two-sample t over regions as published, which takes regions for independent. Difference (first minus
        other) with interval, t, p, ``p_holm`` over the conditions of a test, Cohen's d with interval, units.

    Raises
    ------
    InputError
        If every region is an input in some condition.

    Examples
    --------
    >>> compare_sets.__annotations__["return"]
    'pd.DataFrame'
    """
    free = _free(regions)
    kept = regions[regions["region"].isin(free)]
    unit = ["person", "seed"] if regions["person"].nunique() == 1 else ["person"]
    by_unit = kept.pivot_table(index=unit, columns="condition", values="pcc", aggfunc="mean")
    by_region = kept.pivot_table(index="region", columns="condition", values="pcc", aggfunc="mean")
    first = design.conditions[0].name
    rows = []
    for c in design.conditions[1:]:
        a, b = by_unit[first].to_numpy(), by_unit[c.name].to_numpy()
        tests = {"paired": paired(a, b), "unpaired": unpaired(a, b)}
        tests["regions"] = unpaired(by_region[first].to_numpy(), by_region[c.name].to_numpy())
        rows += [{"condition": c.name, "test": name, **_row(d)} for name, d in tests.items()]
    table = pd.DataFrame(rows)
    for name in table["test"].unique():
        which = table["test"] == name
        table.loc[which, "p_holm"] = holm(table.loc[which, "p"].to_numpy())
    return table


def _free(regions: pd.DataFrame) -> list[str]:
    driven = set(regions.loc[regions["input"], "region"])
    free = [str(n) for n in dict.fromkeys(regions["region"]) if n not in driven]
    if not free:
        raise InputError(
            "inputs: every region is an input in some condition, so that none is left to compare; use fewer."
        )
    return free


def _row(d: Difference) -> dict[str, Any]:
    row = {"difference": d.mean, "difference_low": d.low, "difference_high": d.high, "t": d.t, "p": d.p}
    return row | {"effect": d.effect, "effect_low": d.effect_low, "effect_high": d.effect_high, "units": d.units}


def _conclude(results: Results) -> Findings:
    design = results.design
    cells, regions = results.similarity()
    free = _free(regions)
    compared = compare_sets(regions, design)
    sets = _sets(results, regions, free)
    spectrum, peaks, links, combined = _drives(results)
    tables = {"sets": sets, "compared": compared, "cells": cells, "regions": regions}
    tables |= {"spectra": spectrum, "peaks": peaks, "links": links, "links_combined": combined}
    tables = {name: table for name, table in tables.items() if len(table)}
    first, others = design.conditions[0].name, [c.name for c in design.conditions[1:] if c.drive == "fitted"]
    value = sets.set_index("condition")["pcc"]
    better = [n for n in others if value[first] > value[n]]
    answer = (
        f"On the {len(free)} regions that are input in no set, the twin with '{first}' inputs follows the recording by "
        f"{value[first]:.3f}: better than {len(better)} of {len(others)} other sets "
        f"({', '.join(f'{n} {value[n]:.3f}' for n in others)}). A copy of the mean recorded inputs, without "
        f"a model, reaches {float(sets['copy'].iloc[0]):.3f}."
    )
    return Findings(
        answer,
        _claims(first, sets, compared, peaks, combined, design),
        _charts(tables),
        tables,
        {"free_regions": free},
        (
            "Regions that are input in any set are left out of every comparison: an input resembles its recording by "
            "construction.",
            "'copy' is the mean recorded BOLD of the inputs taken for a prediction of each region: what the choice of "
            "inputs explains without any model. A set can be better because its regions are central, or because they "
            "carry the signal common to the whole brain.",
            "Drives are band-limited like the target of the fit; links between them are asked of block means, see "
            "twinbrain.experiment.drives.",
        ),
    )


def _sets(results: Results, regions: pd.DataFrame, free: list[str]) -> pd.DataFrame:
    """One row per condition: similarity over units, and that of a copy of the recorded inputs."""
    kept = regions[regions["region"].isin(free)]
    unit = ["person", "seed"] if regions["person"].nunique() == 1 else ["person"]
    rows = []
    for c in results.design.conditions:
        own = kept[kept["condition"] == c.name]
        value, low, high = mean_interval(own.groupby(unit)["pcc"].mean().to_numpy())
        row = {"condition": c.name, "inputs": len(c.inputs), "pcc": value, "pcc_low": low, "pcc_high": high}
        copies, sizes = [], []
        for who in results.people:
            times = results.cell(who, c.name, results.design.seeds[0])["time"].values
            passed = results.passed(who).sel(time=times, method="nearest").transpose("time", "region")
            names = [str(n) for n in results.inputs(who, c.name)]
            mean = standardise(np.asarray(passed.sel(region=names), np.float64)).mean(axis=1, keepdims=True)
            target = np.asarray(passed.sel(region=free), np.float64)
            copies.append(float(pearson(np.repeat(mean, len(free), axis=1), target).mean()))
            grey = results.setups[who].ready.person.grey_matter
            sizes.append(float(grey.sel(region=names).sum() / grey.sum()))
        row |= {"copy": float(np.mean(copies)), "grey_matter_share": float(np.mean(sizes)), "note": c.note}
        rows.append(row)
    return pd.DataFrame(rows)


def _drives(results: Results) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Spectra of, peaks in and links between the drives of the first condition, person by person."""
    spectrum, peaks, links = [], [], []
    places = {p: tuple(f"{stem}_{side}" for stem in PLACES[p] for side in "LR") for p in FIVE}
    inputs = results.design.conditions[0].inputs
    for who in results.people:
        setup = results.setups[who]
        band = setup.study.assimilation.band_hz
        drive = setup.fit(inputs).values
        known = {p: names for p, names in places.items() if any(n in drive["input"].values for n in names)}
        series = place_series(drive, known or {str(n): (str(n),) for n in drive["input"].values})
        try:
            found = drive_spectra(series, band)
        except InputError:
            continue  # too short for spectra, and so for links
        spectrum.append(_spectrum(found, setup.name))
        mean = (found.power / found.power.sum("frequency")).mean("input")
        inside = (mean["frequency"] >= found.search_hz[0]) & (mean["frequency"] <= found.search_hz[1])
        top = float(mean["frequency"].values[inside.values][int(np.argmax(mean.values[inside.values]))])
        row = {"person": setup.name, "largest_hz": top, "resolution_hz": found.resolution_hz}
        row["significant_hz"] = ", ".join(f"{x.input} {x.frequency_hz:.3f}" for x in found.peaks.itertuples())
        peaks.append(row)
        if series.sizes["input"] > 1:
            try:
                links.append(drive_links(series, band).assign(person=setup.name))
            except InputError:
                continue  # too short for links: the spectra still stand, and the page says "not tested"
    joined = pd.concat(links, ignore_index=True) if links else pd.DataFrame()
    combined = combined_links(joined) if len(joined) else pd.DataFrame()
    shown = _averaged(pd.concat(spectrum, ignore_index=True)) if spectrum else pd.DataFrame()
    return shown, pd.DataFrame(peaks), joined, combined


def _spectrum(found: Any, person: str) -> pd.DataFrame:
    ratio = (found.power / found.background).to_dataframe("ratio").reset_index()
    ratio["power"] = found.power.to_dataframe("x").reset_index()["x"]
    ratio["background"] = found.background.to_dataframe("x").reset_index()["x"]
    inside = ratio["frequency"].between(*found.search_hz)
    kept: pd.DataFrame = ratio[inside]
    return kept.rename(columns={"input": "place"}).assign(person=person, dof=found.dof)


def _averaged(each: pd.DataFrame) -> pd.DataFrame:
    """Average over people; the bands are those of so many degrees of freedom together."""
    from scipy.stats import chi2

    mean = each.groupby(["place", "frequency"], sort=False)[["ratio", "power", "background"]].mean().reset_index()
    dof = float(each.groupby("person")["dof"].first().sum())
    mean["ratio_low"], mean["ratio_high"] = (mean["ratio"] * dof / chi2.ppf(q, dof) for q in (0.975, 0.025))
    return mean.assign(people=each["person"].nunique())


def _claims(
    first: str, sets: pd.DataFrame, compared: pd.DataFrame, peaks: pd.DataFrame, combined: pd.DataFrame, design: Design
) -> tuple[Claim, ...]:
    table: Any = sets.set_index("condition")
    claims = []
    drawn = [c.name for c in design.conditions if c.name.startswith("random")]
    for name in [c.name for c in design.conditions[1:] if c.drive == "fitted"]:
        part: Any = compared[compared["condition"] == name].set_index("test")
        one: Any = part.loc["paired"]
        seen = "not seen" if not one["p_holm"] < 0.05 else "seen" if one["difference"] > 0 else "opposite"
        rest = "; ".join(
            f"{t}: t = {part.loc[t]['t']:.1f}, p = {part.loc[t]['p']:.2g}" for t in ("unpaired", "regions")
        )
        claims.append(
            Claim(
                f"{first} inputs make the rest of the brain more similar than '{name}'",
                _PUBLISHED,
                f"{table.loc[first, 'pcc']:.3f} against {table.loc[name, 'pcc']:.3f}; {rest}",
                seen,  # type: ignore[arg-type]
                f"paired t over {int(one['units'])} units, Holm over sets",
                float(one["p_holm"]),
                float(one["effect"]),
                float(one["effect_low"]),
                float(one["effect_high"]),
                f"copies of the inputs {table.loc[first, 'copy']:.3f} and {table.loc[name, 'copy']:.3f}",
            )
        )
    if drawn:
        rank = int((table.loc[drawn, "pcc"] >= table.loc[first, "pcc"]).sum())
        claims.append(
            Claim(
                f"{first} inputs are better than random ones of the same number",
                _PUBLISHED,
                f"{rank} of {len(drawn)} random sets are as good or better",
                "not tested" if len(drawn) < 19 else "seen" if rank == 0 else "not seen",
                "rank among random sets; 19 are needed for p = 0.05",
                (1 + rank) / (1 + len(drawn)),
                control="random sets",
            )
        )
    if len(peaks):
        where = peaks["largest_hz"].to_numpy(np.float64)
        half = float(peaks["resolution_hz"].max()) / 2
        inside = (where > _PEAK[0] - half) & (where < _PEAK[1] + half)
        some = (peaks["significant_hz"] != "").any()
        claims.append(
            Claim(
                "the largest spectral peak of the drives lies at 0.020-0.025 Hz",
                "0.020-0.025 Hz, lower peaks up to 0.08 Hz",
                f"{', '.join(f'{x:.3f}' for x in where)} Hz (resolution {2 * half:.3f} Hz); above an AR(1) background: "
                + ("; ".join(x for x in peaks["significant_hz"] if x) or "none"),
                "not tested" if 2 * half > _FINE_HZ else "seen" if inside.all() and some else "not seen",
                "peaks above AR(1), family-wise 5 % over frequencies of a drive",
                control="AR(1) background",
            )
        )
    for source, target in LINKS:
        claims.append(_link(source, target, combined))
    return tuple(claims)


def _link(source: str, target: str, combined: pd.DataFrame) -> Claim:
    statement, published = f"the drive of {source} leads that of {target}", "a strong conditional Granger link"
    if not len(combined):
        return Claim(statement, published, "too few volumes", "not tested")
    pairs = combined.set_index(["source", "target"])
    if (source, target) not in pairs.index:
        return Claim(statement, published, "these drives are not there", "not tested")
    one: Any = pairs.loc[(source, target)]
    back: Any = pairs.loc[(target, source)]
    return Claim(
        statement,
        published,
        f"F = {one['F']:.3f}, in {int(one['found'])} of {int(one['people'])} people by themselves",
        "seen" if one["p_family"] < 0.05 else "not seen",
        "conditional Granger against turned drives, Fisher over people, Holm over all directions",
        float(one["p_family"]),
        control=f"the other direction F = {back['F']:.3f}, p = {back['p_family']:.2g}",
    )


def _charts(tables: dict[str, pd.DataFrame]) -> tuple[Chart, ...]:
    charts = [
        Chart(
            "inputs-sets",
            "Which inputs serve the rest of the brain",
            "forest",
            "sets",
            "condition",
            ("pcc",),
            labels={"pcc": "correlation with the recording, regions that are input in no set"},
            caption="Mean over wirings (people) with the 95 % bootstrap interval. 'shifted' is the same twin with its "
            "drive at a wrong time: what is left is chance. sets.csv holds what a plain copy of the inputs reaches.",
            alt="One row per set of inputs with the mean similarity of the other regions.",
        ),
        Chart(
            "inputs-spectra",
            "Rhythms of the drives",
            "curve",
            "spectra",
            "frequency",
            ("ratio",),
            "place",
            {"ratio": "power over the AR(1) background", "frequency": "frequency, Hz"},
            reference={"ratio": (1.0, "AR(1)")},
            caption="Mean over people with the 95 % band of each value. A rhythm stands above 1 by more than the band, "
            "at few frequencies; peaks.csv lists those that are significant over all frequencies of a drive.",
            alt="Power of five drives relative to an AR(1) process against frequency.",
        ),
    ]
    if "links_combined" in tables:
        charts.append(
            Chart(
                "inputs-links",
                "Who leads whom",
                "map",
                "links_combined",
                "source",
                ("F",),
                "target",
                {"F": "F, nats"},
                caption="Conditional Granger causality, mean over people; columns lead rows. "
                "links_combined.csv holds p values, corrected for all directions.",
                alt="Colour map of Granger causality between five drives.",
            )
        )
    return tuple(chart for chart in charts if chart.table in tables)


EXPERIMENT = Experiment(
    "inputs",
    "Interoceptive inputs",
    "Do the interoceptive regions as inputs make the rest of the twin resemble the person more than other inputs do?",
    _study,
    _design,
    _conclude,
)
