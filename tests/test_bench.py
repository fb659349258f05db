"""The benchmarks measure what they say, at any size; their times are not tested."""

from __future__ import annotations

import json

import numpy as np
import pytest

from twinbrain.bench.bandwidth import in_place_bandwidth, model_floor_s
from twinbrain.bench.cases import Case, measure_build, measure_run
from twinbrain.bench.networks import COMMON, common_network, even_brain, sample_like_brain
from twinbrain.bench.others import PEERS, make_environments, measure_peer
from twinbrain.bench.run import figure, run_bench, table, write
from twinbrain.cli import main
from twinbrain.errors import InputError
from twinbrain.network import Network


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_bench(10_000, 1, peers=tmp_path_factory.mktemp("none"))


def test_every_case_did_its_work(result):
    found = {c["name"]: c for c in result["cases"]}
    assert set(found) == {
        "build", "run", "update", "substeps", "canonical", "laminar", "ensemble", "one", "balloon",
    }  # fmt: skip
    assert found["run"]["rate_hz"] == pytest.approx(7, abs=2)  # all simulators agree on about 7 Hz at this size
    assert found["update"]["rate_hz"] == 0
    assert found["ensemble"]["members"] == 45
    assert found["ensemble"]["neurons"] * 45 == found["one"]["neurons"]
    for name in ("canonical", "laminar", "ensemble", "one", "substeps"):
        assert 1 < found[name]["rate_hz"] < 20, name
    assert all(c["wall_s"] > 0 for c in found.values())


def test_work_is_counted_from_spikes():
    network = common_network(10_000)
    case = measure_run(network, 1, warm_up=50, steps=100, repeats=1, bandwidth=1e9)
    assert case.updates == 10_000 * 100
    spikes = case.rate_hz * 10_000 * 0.1
    assert spikes == pytest.approx(round(spikes), abs=1e-6)
    assert case.events == pytest.approx(spikes * 100)
    assert case.floor_s == pytest.approx(model_floor_s(case.updates, case.events, 1e9))
    assert case.floor_s != pytest.approx(model_floor_s(case.updates, 0, 1e9))


def test_the_common_network_is_the_one_the_peers_build():
    network = common_network(100_000)
    sizes = network.populations.groupby("name")["size"].unique()
    assert sizes["E"].tolist() == [800]
    assert sizes["I"].tolist() == [200]
    c = COMMON
    assert c["local_e"] + c["local_i"] + c["remote_e"] == 100
    assert network.set.neuron.g_ampa == pytest.approx(2 * c["g"][0])  # mean weight one half
    assert network.live == (True, True, True, True)


def test_made_up_brains_differ_where_they_should():
    laminar = Network(sample_like_brain(), neurons=94 * 40, circuit="laminar")
    assert set(laminar.populations["name"]) >= {"L2/3E", "L6I", "E", "I"}
    even = even_brain(94).projection.toarray()
    assert np.ptp(even[even > 0]) == pytest.approx(0, abs=1e-12)
    uneven = sample_like_brain().projection.toarray()
    assert uneven.max() > 20 * np.median(uneven[uneven > 0])
    assert (sample_like_brain(seed=1).projection != sample_like_brain(seed=0).projection).nnz > 0


def test_bandwidth_counts_both_directions():
    assert in_place_bandwidth(1, megabytes=16, repeats=2) > 1e8
    assert model_floor_s(1, 0, 64) == 1
    assert model_floor_s(0, 1, 6) == 1


def test_build_is_timed_and_complete():
    case, wiring = measure_build(common_network(10_000), 1)
    assert case.synapses == 1_000_000 == len(wiring.targets)
    assert case.to_dict()["times_floor"] != case.to_dict()["times_floor"]  # unknown, not 0


def test_absent_peers_are_said_not_invented(result):
    assert set(result["peers"]) == set(PEERS)
    for found in result["peers"].values():
        assert "--make-peers" in found["skipped"]
    assert not any("times our" in t["what"] for t in result["targets"])
    assert "not measured" in table(result)


def test_a_peer_that_fails_is_said(tmp_path):
    place = tmp_path / "brian2"
    (place / "bin").mkdir(parents=True)
    (place / "lib/python3/site-packages/brian2").mkdir(parents=True)
    (place / "bin/python").write_text("#!/bin/sh\necho broken wheel >&2\nexit 3\n")
    (place / "bin/python").chmod(0o755)
    assert measure_peer("brian2", tmp_path, 1) == {"skipped": "brian2 failed: broken wheel"}
    (place / "bin/python").write_text('#!/bin/sh\necho \'{"wall_s": 2.0, "rate_hz": 7.0}\'\n')
    assert measure_peer("brian2", tmp_path, 1, neurons=500)["neurons"] == 500
    with pytest.raises(InputError, match=r"^there is no peer 'neuron'; the peers are brian2, "):
        measure_peer("neuron", tmp_path, 1)


def test_environments_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^the environment '.*file/brian2' for brian2 could not be made: "):
        make_environments(tmp_path / "file", ("brian2",))


def test_results_are_written_as_json_table_and_figure(result, tmp_path):
    write(result, tmp_path / "bench.json")
    again = json.loads((tmp_path / "bench.json").read_text())
    assert again["cases"][0]["times_floor"] is None
    assert again["machine"]["threads"] == 1
    figure(result, tmp_path / "bench.svg")
    assert "per biological second" in (tmp_path / "bench.svg").read_text()
    text = table(result)
    assert "| target | found | bound | |" in text
    assert text.count("| ensemble |") == 1


def test_rows_of_the_table_follow_the_cases():
    case = Case("run", 1000, 1, 100_000, 100, 1, 5.0, 0.002, 0.001)
    assert case.to_dict()["times_floor"] == pytest.approx(2)
    assert case.to_dict()["million_events_per_s"] == pytest.approx(25)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--neurons", "50"], "--neurons must be at least 10,000 for times that mean something, found 50"),
        (["--neurons", "many"], "expected a whole number such as 100000 or 1e6, found 'many'"),
        (["--make-peers"], "--make-peers needs the folder for the environments; add --peers DIR"),
        (["--peers", "/nonexistent"], "--peers: there is no folder '/nonexistent'; add --make-peers"),
        (["--threads", "-1"], "expected a whole number such as 100000 or 1e6, found '-1'"),
    ],
)
def test_wrong_words(words, message, capsys):
    assert main(["bench", *words]) == 1
    assert message in capsys.readouterr().err
