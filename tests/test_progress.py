"""Progress: a bar on a terminal, sparse lines in a batch job, silence on request."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from twinbrain.progress import spoken, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def batch_lines(caplog: pytest.LogCaptureFixture, units: int, seconds_each: float, done: int = 0) -> list[str]:
    clock = Clock()
    caplog.clear()
    with caplog.at_level(logging.INFO), track(units, "filter", clock=clock, done=done) as tracker:
        for _ in range(units - done):
            clock.now += seconds_each
            tracker.update(note="r 0.9")
    return [record.getMessage() for record in caplog.records]


def test_a_batch_job_gets_a_line_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    lines = batch_lines(caplog, units=100, seconds_each=1.0)
    assert len(lines) == 10
    assert lines[0] == "filter: 10 of 100 TR, 10 %, 1 min 30 s left (r 0.9)"
    assert lines[-1] == "filter: 100 of 100 TR, 100 %, took 1 min 40 s (r 0.9)"
    assert len(batch_lines(caplog, units=100, seconds_each=0.01)) == 1, "quick work says only that it ended"


def test_work_done_before_does_not_flatter_the_speed(caplog: pytest.LogCaptureFixture) -> None:
    lines = batch_lines(caplog, units=100, seconds_each=10.0, done=90)
    assert lines[0] == "filter: 91 of 100 TR, 91 %, 1 min 30 s left (r 0.9)"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO), track(4, "twin", unit="TR") as tracker:
        for _ in range(4):
            tracker.update(note="3 Hz")
    assert "twin: 100%" in terminal.getvalue()
    assert "3 Hz" in terminal.getvalue()
    assert not caplog.records


def test_silence(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO), track(4, "twin", progress=False) as tracker:
        tracker.update(4)
    assert terminal.getvalue() == ""
    assert not caplog.records


def test_an_error_passes_and_the_bar_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(KeyError), track(4, "twin"):
        raise KeyError


def test_nothing_to_do_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert batch_lines(caplog, units=0, seconds_each=1.0) == []
    assert spoken(3600) == "1 h"
