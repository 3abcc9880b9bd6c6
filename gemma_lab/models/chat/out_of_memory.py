"""Out-of-memory errors of any device, as `DoesNotFit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ...errors import DoesNotFit
from ...system.out_of_memory import is_out_of_memory


@contextmanager
def raise_on_out_of_memory(device: torch.device, doing: Callable[[], str]) -> Iterator[None]:
    """Convert an out-of-memory error into `DoesNotFit`; other errors are raised unchanged.

    Parameters
    ----------
    device
        The device of the model.
    doing
        Returns the progress for the message: ``"after 12 new tokens of a prompt of 900"``.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DoesNotFit(
            f"Memory ran out on {device} {doing()}: {reason}",
            hint="Shorten the prompt, pass fewer images, lower max_new_tokens, or load a smaller "
            "checkpoint; gemma_lab.doctor() lists what fits here.",
        ) from error
