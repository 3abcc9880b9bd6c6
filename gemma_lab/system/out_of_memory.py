"""Recognise errors of memory that ran out, from any library."""

from __future__ import annotations

import errno
import sys

_TEXTS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "failed to allocate",
    "unable to allocate",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that memory of any device ran out.

    Besides ``MemoryError`` and torch's ``OutOfMemoryError``, errors of torch's allocators for CPU and MPS and
    of mapping a file are recognised by their text.
    """
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return any(words in text for words in _TEXTS)
