# ruff: noqa: E501 - the refusals below are whole sentences
"""The study: what is read, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinbrain.config import (
    AssimilationSection,
    NetworkSection,
    Study,
    SubjectSection,
    check_study,
    demo_study,
    parameter_table,
    read_study,
    study_from_dict,
    to_toml,
    with_settings,
)
from twinbrain.errors import InputError


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(folder: Path, text: str) -> str:
    file = written(folder, text)
    with pytest.raises(InputError) as caught:
        read_study(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def test_the_empty_file_is_the_demonstration(tmp_path: Path) -> None:
    assert read_study(written(tmp_path, "")) == demo_study() == Study()
    assert read_study(written(tmp_path, "[twin]\nseed = 5")) != demo_study()


def test_the_demonstration_is_as_large_as_promised() -> None:
    study = demo_study()
    assert study.subject.sample == "101309"
    assert study.assimilation.members >= 30
    assert study.assimilation.neurons >= 15_000
    assert study.assimilation.volumes >= 200
    assert study.twin.neurons >= 90_000
    assert study.network.in_degree == 100


def test_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    study = Study(
        subject=SubjectSection(sample=None, folder=str(tmp_path / "sub-01")),
        network=NetworkSection(overrides={"L2/3E": {"g_ampa": 0.001}, "É": {"tau_ms": 2.0}}),
        assimilation=AssimilationSection(inputs=('a "quoted" région',), bounds=(-0.5, 0.25)),
    )
    assert read_study(written(tmp_path, to_toml(study))) == study
    assert read_study(written(tmp_path, to_toml(demo_study()))) == demo_study() != study


def test_a_folder_is_taken_relative_to_the_file_and_replaces_the_sample(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, '[subject]\nfolder = "sub-01"'))
    assert study.subject.folder == str((tmp_path / "sub-01").resolve())
    assert study.subject.sample is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network]\nin_degre = 5", "[network] has no key 'in_degre'; did you mean 'in_degree'?"),
        ("[networt]\nseed = 5", "there is no table [networt]; did you mean 'network'?"),
        ("in_degree = 5", "there is no table [in_degree]; the key 'in_degree' belongs to [network]"),
        ("[network]\nzzz = 5", "[network] has no key 'zzz'; its keys are circuit, parameters, in_degree, seed, overrides, long_range_gain, canonical_shares, conductance_scaling, conduction_speed_m_s, integrator, state_dtype, rules"),
        ("[network]\nin_degree = 0", "network.in_degree is 0, expected a whole number of at least 1 and at most 20000"),
        ("[twin]\nneurons = -5", "twin.neurons is -5, expected a whole number of at least 1"),
        ("[twin]\nneurons = 94000.0", "twin.neurons is 94000.0, expected a whole number of at least 1"),
        ("[twin]\nneurons = true", "twin.neurons is true, expected a whole number of at least 1"),
        ("[assimilation]\nmembers = 2", "assimilation.members is 2, expected a whole number of at least 3 and at most 100000"),
        ("[assimilation]\nvolumes = 19", "assimilation.volumes is 19, expected a whole number of at least 20"),
        ("[assimilation]\nbounds = [0.2, 0.1]", "assimilation.bounds is [0.2, 0.1], expected the smaller value first"),
        ("[assimilation]\nbounds = [0.2]", "assimilation.bounds holds 1 numbers, expected 2 or none"),
        ("[assimilation]\nbounds = [0.0, nan]", "assimilation.bounds is [0.0, nan], expected a finite number"),
        ("[assimilation]\nband_hz = [0.0, 0.1]", "assimilation.band_hz is [0.0, 0.1], expected 0 < lower < upper"),
        ("[assimilation]\ntarget_mean = inf", "assimilation.target_mean is inf, expected a number of at least 0 and at most 1"),
        ("[assimilation]\ninputs = []", "assimilation.inputs is [], expected a list of one or more names"),
        ('[assimilation]\ninputs = "Thalamus_L"', "assimilation.inputs is 'Thalamus_L', expected a list of one or more names"),
        ('[assimilation]\ninputs = ["A", "A"]', "assimilation.inputs holds 'A' twice, expected each region's name once"),
        ("[assimilation]\nvolumes = 20\nlag = 20", "assimilation.lag is 20, expected fewer than its 20 volumes"),
        ("[execution]\nthreads = -1", "execution.threads is -1, expected a whole number of at least 0 and at most 4096"),
        ("[execution]\ndt_ms = 0.3", "execution.dt_ms is 0.3, expected a step of which a whole number makes 1 ms, for instance 1.0, 0.5 or 0.1"),
        ('[network]\ncircuit = "Laminar"', "network.circuit is 'Laminar', expected 'canonical' or 'laminar'; did you mean 'laminar'?"),
        ("[subject]\nsample = 101309", "subject.sample is 101309, expected text"),
        ('[subject]\nsample = "a"\nfolder = "b"', "[subject] has both of 'sample' and 'folder', expected exactly one of them"),
        ('[subject]\nsample = " "', "subject.sample is empty, expected a name or no such key"),
        ("twin = 5", "[twin] is 5, expected a table of keys"),
        ("[network.overrides]\nE = 5", "network.overrides is {'E': 5}, expected a table of population = {parameter = number}"),
        ("[twin", "is not valid TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_table_and_key(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: there is no such file"):
        read_study(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="cannot be read \\(is a folder, not a file such as"):
        read_study(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_study("a\0b")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"x = " + b"9" * 5000, b"x = " + b"[" * 20_000, b"\0" * 10, b"#" * 1_000_001],
    ids=["no UTF-8", "5000 digits", "deep", "null", "huge"],
)
def test_a_file_that_is_no_study_gives_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_study(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_study_made_in_python_is_checked_too() -> None:
    with pytest.raises(InputError, match=r"^study: network\.in_degree is 0, expected"):
        check_study(Study(network=NetworkSection(in_degree=0)))
    assert check_study(Study()) == Study()


def test_settings_replace_single_values() -> None:
    study = with_settings(Study(), ["twin.neurons=9400", "subject.sample = 102311", 'assimilation.inputs=["Insula_L"]'])
    assert (study.twin.neurons, study.subject.sample, study.assimilation.inputs) == (
        9400,
        "102311",
        ("Insula_L",),
    )
    assert study.twin.seed == Study().twin.seed
    moved = with_settings(study, ["subject.folder=/data/sub-01"])
    assert (moved.subject.sample, moved.subject.folder) == (None, "/data/sub-01")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("twin.neurons", "--set 'twin.neurons': expected table.key=value, for instance twin.neurons=94000"),
        ("twin.neuron=5", "--set twin.neuron=5: [twin] has no key 'neuron'; did you mean 'neurons'?"),
        (
            "twin.neurons=few",
            "--set twin.neurons=few: twin.neurons is 'few', expected a whole number of at least 1",
        ),
        ("twin neurons=5", "--set twin neurons: is not a table.key of a study"),
    ],
)
def test_a_mistaken_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        with_settings(Study(), [setting])
    assert str(caught.value) == message


def test_the_parameter_table_holds_every_key() -> None:
    table = parameter_table()
    for name in Study.__struct_fields__:
        assert f"### {name}\n" in table
        for key in getattr(Study(), name).__struct_fields__:
            assert f"| `{key}` |" in table
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert all(cell.strip() for row in rows for cell in row.strip("|").split("|")), "every cell is filled"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
tables = st.sampled_from([*Study.__struct_fields__, "other"])
keys = st.sampled_from(
    sorted({key for name in Study.__struct_fields__ for key in getattr(Study(), name).__struct_fields__} | {"other"})
)


def one_sentence(work: Callable[[], Study], start: str) -> Study | None:
    """Do the work; if it is refused, the refusal must be one sentence that names the place."""
    try:
        return work()
    except InputError as error:
        message = str(error)
    assert message.startswith(start)
    assert "\n" not in message
    assert len(message) < 300
    return None


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(tables, st.dictionaries(keys, values, max_size=3) | values, max_size=4))
def test_any_tables_give_a_study_or_one_sentence(data: dict[str, object]) -> None:
    study = one_sentence(lambda: study_from_dict(data, source="f.toml"), "f.toml: ")
    if study is not None:
        assert check_study(study) == study


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.binary(max_size=60))
def test_any_file_gives_a_study_or_one_sentence(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "any.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    one_sentence(lambda: read_study(file), f"{file}: ")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_any_setting_gives_a_study_or_one_sentence(setting: str) -> None:
    one_sentence(lambda: with_settings(Study(), [setting]), "--set ")
