"""Which frames are on screen in a part and at a rate, compared with a search through all of them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_lab.models.media.timeline import Timeline, fraction, sample_indices

timelines = st.builds(
    lambda gaps, tick: Timeline([sum(gaps[:n]) for n in range(len(gaps))], tick, sum(gaps)),
    st.lists(st.integers(1, 500), min_size=1, max_size=30),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 100), Fraction(1, 90_000), Fraction(1001, 30_000)]),
)
moments = st.one_of(st.none(), st.integers(0, 20_000).map(lambda n: n / 1000))


def on_screen(timeline: Timeline, time: Fraction) -> int | None:
    """Return the last frame whose time is not after a time; None before the first and after the end."""
    shown = [n for n, tick in enumerate(timeline.ticks) if tick * timeline.tick <= time]
    return shown[-1] if shown and time < timeline.end * timeline.tick else None


@given(timelines, moments, moments)
def test_a_part_is_what_is_on_screen_in_it(timeline, start, stop):
    part = timeline.part(start, stop)
    begin = Fraction(0) if start is None else fraction(start)
    end = None if stop is None else fraction(stop)
    expected = {
        n
        for n, tick in enumerate(timeline.ticks)
        if tick * timeline.tick >= begin and (end is None or tick * timeline.tick < end)
    }
    first = on_screen(timeline, begin)
    if first is not None and (end is None or timeline.ticks[first] * timeline.tick < end):
        expected.add(first)
    assert set(part) == (expected if begin < timeline.end * timeline.tick else set())


@given(timelines, st.sampled_from([0.5, 1, 3, 10, 29.97]), moments)
def test_frames_at_a_rate_are_those_on_screen_at_its_times(timeline, fps, start):
    part = timeline.part(start, None)
    if not part:
        return
    begin = timeline.ticks[part.start] * timeline.tick if start is None else fraction(start)
    count = int((timeline.end * timeline.tick - begin) * fraction(fps)) + 2
    shown = {on_screen(timeline, begin + n / fraction(fps)) for n in range(count)} - {None}
    assert timeline.at_rate(part, fps, start) == sorted(shown)


@pytest.mark.parametrize(
    ("value", "meant"), [(0.1, Fraction(1, 10)), (1 / 3, Fraction(1, 3)), (29.97, Fraction(2997, 100))]
)
def test_floats_are_the_fractions_that_were_meant(value, meant):
    assert fraction(value) == meant


@given(st.integers(1, 500), st.integers(1, 64))
def test_samples_are_distinct_and_begin_with_the_first(total, frames):
    indices = sample_indices(total, frames)
    assert len(set(indices)) == len(indices) == min(total, frames)
    assert indices[0] == 0
    assert indices == sorted(indices)
