"""The report: whole, honest where something is missing, self-contained, and fit to open in a browser."""

from __future__ import annotations

import base64
import dataclasses
import html
import html.parser
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from report_example import INPUTS, Example, make_example
from twinbrain.errors import InputError
from twinbrain.report import closing, sections, series, words
from twinbrain.report.activity import activity
from twinbrain.report.blocks import Items, Numbers, Section, Text
from twinbrain.report.page import render, report
from twinbrain.report.reading import Content, Reading
from twinbrain.report.scoring import scores
from twinbrain.report.summary import summary

SECTIONS = (
    "summary", "brain", "fit", "free-run", "connectivity", "scores", "activity", "methods", "provenance", "warnings",
)  # fmt: skip
FIGURES = {
    "connectome", "neurons", "agreement", "drive", "forecast", "free-inputs", "free-others", "connectivity",
    "scores-bold-pcc-noninputs", "scores-fc-pcc", "rates", "rate-over-time", "raster",
}  # fmt: skip


class Page(html.parser.HTMLParser):
    """What a page loads, links, draws and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.svgs: list[dict[str, Any]] = []
        self.words: list[str] = []
        self._silent: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found.get("href", ""))
        else:
            self.loads += [found[name] for name in ("src", "href", "xlink:href", "data", "action") if name in found]
        if tag == "svg":
            self.svgs.append(found)
        if tag in {"script", "style"}:
            self._silent.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def example() -> Example:
    return make_example(bases=12, volumes=160)


@pytest.fixture(scope="module")
def source(example: Example) -> str:
    return render(example)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def spoken(section: Section) -> str:
    """Everything a section says in paragraphs and lists."""
    said = [block.text for block in section.blocks if isinstance(block, Text)]
    return " ".join(said + [item for block in section.blocks if isinstance(block, Items) for item in block.items])


def without(example: Example, *groups: str) -> Example:
    return dataclasses.replace(example, groups={k: v for k, v in example.groups.items() if k not in groups})


def test_all_sections_and_figures_are_there(page: Page) -> None:
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert {link[1:] for link in page.links if link.startswith("#")} >= set(SECTIONS)
    drawn = {name.removesuffix("-figure_1") for name in page.ids if name.endswith("-figure_1")}
    assert drawn == FIGURES


def test_every_figure_has_a_description_and_no_id_occurs_twice(page: Page) -> None:
    assert len(page.svgs) == len(FIGURES) + 1  # and the viewer
    assert all(svg.get("role") == "img" and len(svg["aria-label"]) > 20 for svg in page.svgs)
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_asked_of_the_outside(source: str, page: Page) -> None:
    assert all(load.startswith(("data:", "#")) for load in page.loads)
    assert all(link.startswith(("#", "https://doi.org/")) for link in page.links)
    assert "@import" not in source
    assert not re.findall(r"url\((?!#)", source)
    assert Page('<img src="https://example.org/x.png">').loads == ["https://example.org/x.png"]  # it would be seen


def test_summary_says_who_how_many_how_well_and_what_it_does_not_show(page: Page) -> None:
    text = page.text
    for part in (
        "A spiking twin of subject 101309",
        "94,000 neurons",
        "9.4 million synapses",
        "4.0 times a second",
        "asynchronously: the Fano factor",
        "cannot be told from the best baseline (ridge from the inputs)",
        "95 % interval −0.081 to 0.034",
        "the recording's two halves agree with r = 0.81",
        "It does not show that spiking neurons explain the other regions",
        "a good forecast alone proves little",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.2, "is better than the best baseline"),
        (-0.2, -0.01, "falls short of the best baseline"),
        (-0.1, 0.1, "cannot be told from the best baseline"),
        (None, None, "without an interval"),
    ],
)
def test_verdict_follows_the_interval(low: float | None, high: float | None, said: str) -> None:
    tree = make_example(bases=2).scores | {"difference_to_best": {"value": 0.0, "low": low, "high": high}}
    assert said in Page(render(Content(scores=tree))).text


def test_missing_numbers_are_dashes_with_a_reason_never_nan(page: Page) -> None:
    assert "nan" not in re.findall(r"[a-z]+", page.text.lower())
    assert "None" not in page.text.split()
    assert words.DASH in page.text
    assert "not computed, or not defined" in page.text


def test_figures_keep_the_digits_of_their_labels() -> None:
    from twinbrain.report import figures, style

    t = np.arange(10.0)
    values = np.linspace(0, 0.1, 10)[:, None]
    svg = style.to_svg(figures.drive_figure(t, values, values * 0.0, None, ["a"]), "x")
    ticks = [float(v) for v in re.findall(r">(0\.\d+)<", svg)]
    assert np.allclose(np.diff(ticks), np.diff(ticks)[0])
    assert "DejaVu" not in svg
    assert "Date" not in svg


@pytest.mark.parametrize(
    ("group", "maker", "said"),
    [
        ("laminar", activity, "The results hold no laminar run"),
        ("twin", activity, "The results hold no firing rates"),
        ("fit", sections.fit, "The results hold no assimilation"),
        ("brain", sections.brain, "The results hold no anatomy"),
        ("twin", sections.free_run, "The results hold no free run"),
        ("recorded", sections.free_run, "The recording was not stored"),
        ("recorded", sections.connectivity, "The recording was not stored"),
        ("twin", sections.connectivity, "There is no free run"),
    ],
)
def test_a_missing_group_leaves_a_line(
    example: Example, page: Page, group: str, maker: Callable[[Reading], Section], said: str
) -> None:
    assert said not in page.text
    assert said in spoken(maker(Reading(without(example, group))))


def test_an_empty_result_still_makes_a_page() -> None:
    text = Page(render(Content())).text
    assert "no free run to compare with a recording" in text
    assert "The results hold no scores." in text


def test_warnings_are_found_and_absent_when_all_is_well(example: Example) -> None:
    quiet = dataclasses.replace(example, provenance={}, scores=example.scores | {"notes": []})
    assert spoken(closing.warnings(Reading(quiet))) == "None."
    groups = dict(example.groups)
    bold = groups["twin"]["bold"].copy()
    bold[:, 0] = 0.02
    groups["twin"] = groups["twin"].assign_attrs(fano=3200.0, mean_rate_hz=29.0).assign(bold=bold)
    loud = dataclasses.replace(
        example, groups=groups, scores=example.scores | {"notes": ["a note"]}, status="interrupted fit"
    )
    text = spoken(closing.warnings(Reading(loud)))
    flat = str(bold["region"].values[0])
    for part in (
        "The network is synchronous (29 Hz, Fano factor 3,200)",
        "29 Hz, lies outside 1–12 Hz",
        f"No correlation is defined for {flat}",
        "a note",
        "status is “interrupted fit”",
    ):
        assert part in text, part


def test_many_inputs_become_a_map_and_the_first_panels(example: Example) -> None:
    fit = example.groups["fit"]
    names = [str(name) for name in example.groups["twin"]["region"].values][:14]
    many = xr.Dataset(
        {
            name: (("time", "input"), np.repeat(fit[name].values, 7, axis=1))
            for name in ("drive", "spread", "filter_mean")
        },
        coords={"time": fit["time"].values, "input": names},
    ).assign(forecast=fit["forecast"], target=fit["target"])
    made = sections.fit(Reading(dataclasses.replace(example, groups=example.groups | {"fit": many})))
    assert "a row per input region" in made.pictures[0].caption
    assert "the first 12 of 14 input regions are drawn" in made.pictures[1].caption
    usual = sections.fit(Reading(example))
    assert "Blue: mean of the fixed-lag smoother" in usual.pictures[0].caption


def test_an_unknown_state_is_not_called_asynchronous(example: Example) -> None:
    groups = example.groups | {"twin": example.groups["twin"].assign_attrs(fano=float("nan"))}
    unknown = Reading(dataclasses.replace(example, groups=groups))
    assert "asynchronously: the Fano factor" not in spoken(summary(unknown))
    assert "asynchronously: the Fano factor" in spoken(summary(Reading(example)))
    assert "Whether the network is asynchronous is not known" in spoken(closing.warnings(unknown))


def with_state(example: Example, rate: float, fano: float, **attrs: object) -> Example:
    twin = example.groups["twin"].assign_attrs(mean_rate_hz=rate, fano=fano, **attrs)
    return dataclasses.replace(example, groups=example.groups | {"twin": twin})


@pytest.mark.parametrize(
    ("rate", "fano", "name"),
    [
        (255.0, 0.0095, "saturated"),
        (407.0, 0.05, "saturated"),
        (141.0, 31.0, "too fast and synchronous"),
        (40.0, 1.0, "too fast"),
        (255.0, 1.0, "too fast"),
        (0.3, 1.0, "too slow"),
        (4.0, 3000.0, "synchronous"),
        (4.0, 10.0, "synchronous"),
        (4.0, 0.05, "too regular"),
    ],
)
def test_a_network_in_a_bad_state_is_called_so_and_claims_nothing(
    example: Example, rate: float, fano: float, name: str
) -> None:
    better = {"difference_to_best": {"value": 0.6, "low": 0.5, "high": 0.7}}
    made = dataclasses.replace(with_state(example, rate, fano, asynchronous=True), scores=example.scores | better)
    section = summary(Reading(made))
    first = section.blocks[0]
    assert isinstance(first, Text)
    assert first.kind == "alarm"
    assert first.text.startswith(f"This network is {name.split(' and ')[0]} (")
    (cards,) = (block for block in section.blocks if isinstance(block, Numbers))
    states = {card.label: card.state for card in cards.numbers}
    assert states["Fano factor, 4 ms"] != "good"
    assert states["BOLD r, inputs"] != "good"
    assert states["BOLD r, non-inputs"] != "good"
    shows = next(block for block in section.blocks if isinstance(block, Items) and block.heading == "What this shows")
    assert shows.items == [f"Nothing: the network is {name}, so its agreement with the recording means nothing."]
    assert shows.kind == "warning"
    for claim in ("asynchronously", "is better than", "follows the person's BOLD in its", "adds something"):
        assert claim not in spoken(section)
    assert f"The network is {name}: these figures mean nothing." in spoken(scores(Reading(made)))


@pytest.mark.parametrize(("rate", "fano"), [(1.0, 0.2), (4.0, 1.0), (12.0, 9.9)])
def test_a_network_in_a_good_state_has_its_tick_and_no_banner(example: Example, rate: float, fano: float) -> None:
    section = summary(Reading(with_state(example, rate, fano)))
    assert not [block for block in section.blocks if isinstance(block, Text) and block.kind == "alarm"]
    (cards,) = (block for block in section.blocks if isinstance(block, Numbers))
    assert {card.label: card.state for card in cards.numbers}["Fano factor, 4 ms"] == "good"
    assert "The estimated currents carry the recording" in spoken(section)
    assert "these figures mean nothing" not in spoken(scores(Reading(with_state(example, rate, fano))))


def test_the_banner_comes_before_everything_else_on_the_page(example: Example) -> None:
    source = render(without(with_state(example, 255.0, 0.0095), "brain", "laminar"))
    assert '<p class="alarm" role="alert">This network is saturated' in source
    assert source.index('role="alert"') < source.index('class="lead"')
    assert 'role="alert"' not in render(without(example, "brain", "laminar", "fit"))


def test_the_laminar_run_is_judged_too(example: Example) -> None:
    laminar = example.groups["laminar"].assign_attrs(mean_rate_hz=308.0, fano=0.012)
    bad = dataclasses.replace(example, groups=example.groups | {"laminar": laminar})
    assert "its state is saturated (neurons fire near the limit" in spoken(activity(Reading(bad)))
    assert "The laminar run is saturated" in spoken(closing.warnings(Reading(bad)))
    assert "its mean rate 4.1 Hz; its state is asynchronous" in spoken(activity(Reading(example)))
    assert "The laminar run is" not in spoken(closing.warnings(Reading(example)))


def test_a_brain_of_voxels_says_so(example: Example) -> None:
    brain = example.groups["brain"].assign_attrs(level="voxel", voxels=2592)
    study = dict(example.study) | {"brain": {"level": "voxel", "voxel_mm": 8.0}}  # type: ignore[arg-type]
    made = Reading(dataclasses.replace(example, groups=example.groups | {"brain": brain}, study=study))
    place = "2,592 voxels of 24 regions (voxels 8 mm wide)"
    assert f"94,000 neurons in {place}, joined by" in spoken(summary(made))
    assert f"The model is made of {place}." in spoken(sections.brain(made))
    assert "Every voxel holds leaky integrate-and-fire neurons" in spoken(closing.methods(made))
    assert place in spoken(closing.methods(made))
    bare = Reading(dataclasses.replace(example, groups=example.groups | {"brain": brain}))
    assert "neurons in 2,592 voxels of 24 regions, joined by" in spoken(summary(bare))
    regions = Reading(example)
    assert "neurons in 24 regions, joined by" in spoken(summary(regions))
    assert "voxel" not in spoken(summary(regions)) + spoken(sections.brain(regions)) + spoken(closing.methods(regions))


def test_scores_without_a_stored_recording_are_stated(example: Example) -> None:
    stored = {"volumes": 150, "repetition_time_s": 0.72, "regions": 24}
    given = dataclasses.replace(without(example, "recorded", "brain"), study={}, scores=example.scores | stored)
    given = dataclasses.replace(given, provenance={})
    text = Page(render(given)).text
    assert "state no agreement" not in text
    assert "A spiking twin of" not in text
    for part in (
        "(r = 0.94)",
        "The recording was not stored with these results: the figures are those computed when it was at hand.",
        "compared with 150 volumes (1 min 48 s)",
        "What this shows",
        "so the free run cannot be drawn beside it",
    ):
        assert part in text, part
    assert summary(Reading(given)).title == "A spiking twin"
    nothing = Page(render(dataclasses.replace(given, scores={}))).text
    assert "The recording was not stored with these results, nor were any scores" in nothing
    assert "What this shows" not in nothing
    assert "was not stored" not in Page(render(without(example, "brain"))).text


def test_notes_of_the_comparison_stand_beside_the_scores(example: Example) -> None:
    note = "the interval of the difference rests on 3.4 blocks of 42 s: it is likely too narrow"
    noted = dataclasses.replace(example, scores=example.scores | {"notes": [note]})
    assert f"T{note[1:]}." in spoken(scores(Reading(noted)))
    assert "blocks of 42 s" not in spoken(scores(Reading(example)))


def test_hostile_names_are_escaped() -> None:
    evil = without(make_example(bases=3, volumes=80), "brain", "fit")
    evil.groups["recorded"].attrs["subject"] = "<script>alert(1)</script>"
    names = ["</script><b>", *[str(n) for n in evil.groups["twin"]["region"].values[1:]]]
    for name in ("twin", "recorded"):
        evil.groups[name] = evil.groups[name].assign_coords(region=names)
    source = render(evil)
    assert "<script>alert" not in source
    assert "</script><b>" not in source
    assert "&lt;script&gt;alert(1)" in source


def test_viewer_data_are_the_series_drawn(example: Example, source: str) -> None:
    found = re.search(r'id="viewer-data">(.*?)</script>', source, re.DOTALL)
    assert found
    data = json.loads(found.group(1))
    assert tuple(data["regions"][:2]) == INPUTS
    run = Reading(example).free_run
    assert run is not None
    values = np.frombuffer(base64.b64decode(data["twin"]), np.int8).reshape(len(run.regions), -1) / 20
    wanted = run.simulated[:, run.regions.index(INPUTS[0])]
    assert np.abs(values[0] - wanted).max() <= 0.026
    assert np.abs(values[1] - wanted).max() > 0.026


def test_series_are_matched_by_region_and_time_not_by_position(example: Example) -> None:
    plain = Reading(example).free_run
    shuffled = dict(example.groups)
    shuffled["twin"] = shuffled["twin"].isel(region=slice(None, None, -1))
    turned = Reading(dataclasses.replace(example, groups=shuffled)).free_run
    assert plain is not None
    assert turned is not None
    assert turned.regions == plain.regions[::-1]
    assert np.allclose(turned.pcc[::-1], plain.pcc)
    shuffled["twin"] = example.groups["twin"].assign_coords(region=list(plain.regions)[::-1])  # control: wrong names
    wrong = Reading(dataclasses.replace(example, groups=shuffled)).free_run
    assert wrong is not None
    assert not np.allclose(wrong.pcc[::-1], plain.pcc)


def test_free_run_shows_the_volumes_the_scores_are_of(example: Example) -> None:
    scored = dataclasses.replace(example, scores=example.scores | {"start_s": 7.2, "stop_s": 72.0})
    run, whole = Reading(scored).free_run, Reading(example).free_run
    assert run is not None
    assert whole is not None
    assert (run.time_s[0], run.time_s[-1]) == pytest.approx((7.2, 72.0))
    assert len(whole.time_s) > len(run.time_s)


def test_study_may_be_the_text_of_the_file(example: Example) -> None:
    text = '[subject]\nsample = "102311"\n[assimilation]\nmembers = 45\n'
    assert "over 45 networks" in spoken(closing.methods(Reading(dataclasses.replace(example, study=text))))


def test_methods_name_only_what_was_done() -> None:
    said, cited = words.methods(words.Facts(subject="x", circuit="canonical", has_fit=False, has_twin=False))
    assert "Assimilation" not in [heading for heading, _ in said]
    assert "Evensen 2003" not in [work.short for work in cited]
    _, more = words.methods(
        words.Facts(subject="x", circuit="laminar", sample=True, aal=True, laminar=True, bootstrap=True)
    )
    assert len(more) == len(words.REFERENCES)
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", work.doi) for work in more)


def test_regions_are_ordered_by_hemisphere_then_system(example: Example) -> None:
    regions = [str(n) for n in example.groups["brain"]["target"].values]
    order, blocks = series.readable_order(regions)
    assert sorted(order) == list(range(len(regions)))
    assert [series.hemisphere_of(regions[i]) for i in order] == ["L"] * 12 + ["R"] * 12
    assert blocks[0][0] == "L Frontal"
    assert blocks[-1][0] == "R Deep nuclei"


@pytest.mark.slow
def test_same_result_same_page() -> None:
    def page_of(seed: int) -> str:
        return render(without(make_example(bases=2, volumes=80, seed=seed), "brain", "laminar"))

    assert page_of(0) == page_of(0)
    assert page_of(0) != page_of(1)


def test_report_writes_page_and_figures(example: Example, tmp_path: Path) -> None:
    from twinbrain.store import save

    folder = tmp_path / "out"
    example = without(example, "brain")
    save(folder, tables=example.tables, scores=example.scores, provenance=example.provenance, **example.groups)
    first = report(folder)
    assert first == folder / "report.html"
    assert {path.stem for path in (folder / "figures").glob("*.svg")} == FIGURES - {
        "connectome",
        "neurons",
        "agreement",
    }
    svg = (folder / "figures" / "drive.svg").read_text(encoding="utf-8")
    assert svg.startswith("<?xml")
    before = first.read_bytes()
    assert report(folder).read_bytes() == before  # again: the same


def test_report_of_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        report(tmp_path / "nowhere")


@pytest.mark.slow
def test_whole_brain_page_is_small_and_quick() -> None:
    whole = make_example(volumes=1200)
    started = time.process_time()
    size = len(render(whole).encode("utf-8"))
    assert size < 8e6
    assert time.process_time() - started < 40


def test_report_opens_in_chromium(source: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    # the page reports its own faults: what the console would show, what was requested, whether the viewer drew
    watch = """<script>
    const faults = [];
    addEventListener("error", (e) => faults.push(String(e.message || e.target.src || e.target.href)), true);
    addEventListener("unhandledrejection", (e) => faults.push(String(e.reason)));
    for (const level of ["error", "warn"]) console[level] = (...said) => faults.push(said.join(" "));
    addEventListener("load", () => setTimeout(() => {
      const select = document.getElementById("viewer-region");
      select.value = "3";
      select.dispatchEvent(new Event("change"));
      const made = document.createElement("div");
      made.id = "watched";
      made.textContent = JSON.stringify({
        faults,
        requests: performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:")),
        options: select.options.length,
        paths: document.querySelectorAll("#viewer-svg path").length,
        wide: document.documentElement.scrollWidth - innerWidth,
        shown: document.getElementById("viewer-r").textContent,
      });
      document.body.append(made);
    }, 200));
    </script>"""
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text(source.replace("<head>", "<head>" + watch), encoding="utf-8")
    broken = "<script>undefinedFunction();</script><img src='http://127.0.0.1:9/x.png'>"
    bad.write_text(source.replace("<head>", "<head>" + watch).replace("<main>", "<main>" + broken), encoding="utf-8")

    def opened(path: Path, width: int = 1300) -> tuple[dict[str, Any], str]:
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0",
                f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=5000",
                "--dump-dom", path.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        found = re.search(r'<div id="watched">(.*?)</div>', done.stdout, re.DOTALL)
        assert found, done.stderr[-2000:]
        return json.loads(html.unescape(found.group(1))), done.stderr

    for width in (1300, 500):
        seen, log = opened(good, width)
        assert seen["faults"] == []
        assert seen["requests"] == []
        assert seen["options"] == 24
        assert seen["paths"] == 2
        assert seen["shown"].startswith("r = ")
        assert seen["wide"] <= 0, "the page scrolls sideways"
        assert "CONSOLE" not in log
    seen, log = opened(bad)
    assert any("undefinedFunction" in fault for fault in seen["faults"])
    assert "CONSOLE" in log


def test_the_working_point_has_a_section_where_one_was_found(example: Example) -> None:
    regions = [str(r) for r in example.groups["brain"]["region"].values]
    n, rng = len(regions), np.random.default_rng(1)
    data = xr.Dataset(
        {
            "f_i_hz": (("level", "region"), np.linspace(2, 20, 8)[:, None] + rng.random((8, n))),
            "step_change_hz": ("region", rng.random(n)),
            "step_fitted_hz": ("region", rng.random(n)),
            "step_probe": ("region", (np.arange(n) < 2).astype(np.int8)),
            "pulse_rate_hz": ("time", np.array([4.0, 31.0, 4.1])),
            "pulse_highest_hz": ("time", np.array([4.1, 33.0, 4.2])),
            "beyond_factor": ("beyond", np.array([1.05, 1.1])),
            "beyond_fano": ("beyond", np.array([2.4, np.nan])),
            "beyond_end": ("beyond", np.array(["holds", "bistable"])),
        },
        coords={"region": regions, "level": np.linspace(-0.03, 0.1, 8), "time": [0.0, 1.0, 5.0]},
        attrs={
            "loop_gain": 0.802, "loop_gain_error": 0.004, "slope": 0.0077, "fano": 2.04, "rate_hz": 3.95,
            "rate_lowest_hz": 3.6, "rate_highest_hz": 4.3, "setting_neurons": 9400, "twin_offset_hz": -0.21,
            "setting_screw": "excitatory conductance",
        },
    )  # fmt: skip
    made = Reading(dataclasses.replace(example, groups=example.groups | {"working_point": data}))
    section = next(s for s in sections.all_sections(made) if s.anchor == "working-point")
    text = spoken(section)
    for words_of_it in ("k = 0.80 ± 0.00", "3.6 to 4.3 Hz", "31.0 Hz", "break at 1.10 times", "0.21 Hz lower"):
        assert words_of_it in text, words_of_it
    assert [picture.name for picture in section.pictures] == ["working-point"]
    assert "calibrated on this brain" in spoken(closing.methods(made))
    assert "calibrated on this brain" not in spoken(closing.methods(Reading(example)))
    assert "working-point" not in [s.anchor for s in sections.all_sections(Reading(example))]


def test_a_fit_by_inversion_is_described_as_one(example: Example) -> None:
    fit = example.groups["fit"].drop_vars("filter_mean")
    fit = fit.assign_attrs(
        method="inverse", rate_target_highest_hz=29.0, rate_target_mean_hz=14.0, deconvolution_pcc=0.99,
        correction_1_bold_pcc=0.97, correction_1_rate_bias_hz=0.4,
    )  # fmt: skip
    made = Reading(dataclasses.replace(example, groups=example.groups | {"fit": fit}))
    text = spoken(sections.fit(made))
    assert "by inversion" in text
    assert "r = 0.97" in text
    assert "ensemble" not in text + spoken(closing.methods(made))
    assert "ensemble" in spoken(sections.fit(Reading(example)))
