"""Progress bars of transformers and huggingface_hub while a model is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def progress_bars(shown: bool) -> Iterator[None]:
    """Hide the progress bars of transformers and huggingface_hub within a block, if `shown` is false."""
    import huggingface_hub.utils
    import transformers.utils.logging

    hub: Any = huggingface_hub.utils
    bars: Any = transformers.utils.logging
    hub_was, bars_were = not hub.are_progress_bars_disabled(), bars.is_progress_bar_enabled()
    if not shown:
        hub.disable_progress_bars()
        bars.disable_progress_bar()
    try:
        yield
    finally:
        # transformers' switch turns the hub's too, so each is put back as it was, the hub's last
        if not shown and bars_were:
            bars.enable_progress_bar()
        if not shown and hub_was:
            hub.enable_progress_bars()
        elif not shown:
            hub.disable_progress_bars()
