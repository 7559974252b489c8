from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from edit_lit.utilities import progress as module
from edit_lit.utilities.progress import LogLines, Pace, progress, progress_bar, shows_bars, time_text


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def due(clock, pace, seconds_a_step, steps):
    """When lines were due, in seconds since the start."""
    start, found = clock.now, []
    for step in range(1, steps + 1):
        clock.now += seconds_a_step
        if pace.due(step):
            found.append(clock.now - start)
    return found


@pytest.mark.parametrize(
    ("seconds_a_step", "hours", "fewest", "most"),
    [(0.08, 32 / 3600, 5, 7), (0.5, 1, 60, 120), (0.3, 72, 700, 1100), (90, 72, 700, 1100)],
)
def test_short_and_long_runs_get_a_readable_number_of_lines(clock, seconds_a_step, hours, fewest, most):
    times = due(clock, Pace(), seconds_a_step, int(3600 * hours / seconds_a_step))
    assert fewest <= len(times) <= most
    gaps = [after - before for before, after in zip([0, *times], times, strict=False)]
    assert min(gaps) >= 4.99
    assert max(gaps) <= 300 + 2 * seconds_a_step


def test_a_line_waits_for_steps_and_for_seconds(clock):
    pace = Pace(step=10, seconds=5, steps=4)
    clock.now += 60
    assert not pace.due(13)
    assert pace.due(14)
    clock.now += 4
    assert not pace.due(30)


def test_the_time_left_forgets_a_slow_beginning(clock):
    pace = Pace(step=1000)
    assert pace.left(1000, 1100) is None
    for step in range(1001, 1051):
        clock.now += 100 if step <= 1005 else 6
        pace.due(step)
    assert pace.left(1050, 1100) == pytest.approx(50 * 6, rel=0.01)
    assert pace.left(1050, None) is None


@pytest.mark.parametrize("known", [True, False])
def test_what_takes_long_is_told_in_lines(clock, caplog, capfd, known):
    caplog.set_level(logging.INFO)
    items = range(4) if known else iter(range(4))
    for _ in progress(items, "second moments", "batches"):
        clock.now += 4
    expected = ["2/4 batches, left 0:08", "4/4 batches, took 0:16"]
    if not known:
        expected = ["2 batches, so far 0:08", "4 batches, so far 0:16", "4 batches, took 0:16"]
    assert [record.getMessage() for record in caplog.records] == [f"second moments: {text}" for text in expected]
    assert capfd.readouterr() == ("", "")


def test_what_is_done_at_once_is_told_nowhere(caplog, capfd):
    caplog.set_level(logging.INFO)
    assert list(progress(iter("abc"), "corpus", "documents")) == ["a", "b", "c"]
    with progress_bar("target values", 3, "facts") as bar:
        bar.update(5)
    assert isinstance(bar, LogLines)
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_bars_and_a_file_none_whatever_colors_are_asked_for(monkeypatch):
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for stream, expected in ((Terminal(), True), (io.StringIO(), False), (None, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert shows_bars() == expected
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not shows_bars()


def test_a_bar_on_a_terminal_stays_away_from_what_is_done_at_once(monkeypatch):
    monkeypatch.setattr(module, "shows_bars", lambda: True)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress(range(3), "keys", "batches")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""


def test_only_the_first_process_shows_progress(monkeypatch, caplog, clock):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module.distributed, "rank", lambda: 1)
    monkeypatch.setattr(sys, "stderr", Terminal())
    for _ in progress(range(3), "keys", "batches"):
        clock.now += 100
    assert (sys.stderr.getvalue(), caplog.records) == ("", [])


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (42, "0:42"), (725, "12:05"), (270_005, "75:00:05")])
def test_times_are_short(seconds, text):
    assert time_text(seconds) == text
