"""A streamed answer is cut where the whole one is, however it comes in pieces."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_lab.cli.server.stop_strings import StopCut

letters = st.text("ab", max_size=12)


@settings(max_examples=2000)
@example(["ab", "b"], ["b", "abb"])
@given(st.lists(letters, max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_pieces_add_up_to_the_text_before_the_first_stop(pieces, stops):
    cut = StopCut(stops)
    text = "".join([*(cut.add(piece) for piece in pieces), cut.end()])
    whole = "".join(pieces)
    places = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert text == (whole[: min(places)[1]] if places else whole)


@given(st.lists(letters, max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_what_was_passed_on_is_never_taken_back(pieces, stops):
    cut, passed, whole = StopCut(stops), "", ""
    for piece in pieces:
        passed, whole = passed + cut.add(piece), whole + piece
        assert whole.startswith(passed)
        assert len(whole) - len(passed) < max([1, *map(len, stops)]) or any(stop in whole for stop in stops)
