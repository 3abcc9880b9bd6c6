"""Memory that runs out while a model works, said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ...errors import DoesNotFit


@contextmanager
def raise_on_out_of_memory(device: torch.device, doing: Callable[[], str]) -> Iterator[None]:
    """Turn an error that says that memory ran out into `DoesNotFit`, and let others pass.

    Parameters
    ----------
    device
        Whose memory it is.
    doing
        Says what was done by then: ``"after 12 new tokens of a prompt of 900"``.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DoesNotFit(
            f"Memory ran out on {device} {doing()}: {said}",
            hint="Shorten the prompt, pass fewer pictures, lower max_new_tokens, or load a smaller "
            "checkpoint; gemma_lab.doctor() says what fits here.",
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()  # the CPU allocator and MPS raise a plain RuntimeError
    return any(words in said for words in ("can't allocate memory", "not enough memory", "out of memory"))
