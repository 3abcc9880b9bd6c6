from __future__ import annotations

import pytest

from gemma_lab import errors
from gemma_lab.errors import LabError

_KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LabError)]


@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_is_a_lab_error_with_a_hint(kind):
    error = kind("It is 3 GB too large.", hint="Load a smaller one.")
    assert isinstance(error, RuntimeError)
    assert str(error) == "It is 3 GB too large.\n→ Load a smaller one."
    assert (error.what, error.hint) == ("It is 3 GB too large.", "Load a smaller one.")
    assert kind.__doc__


def test_without_a_hint_there_is_no_arrow():
    assert str(LabError("Stopped.")) == "Stopped."
