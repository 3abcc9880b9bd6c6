"""PEFT, imported on use: the optional dependency of fine-tuning."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from ...errors import MissingExtra, TooOld

#: First PEFT that was tried with fused experts (`target_parameters`).
_SINCE = "0.20"


def peft() -> Any:
    """Return the module `peft`.

    Raises
    ------
    MissingExtra
        If PEFT is not installed.
    TooOld
        If the installed PEFT cannot adapt fused experts.
    """
    # where bitsandbytes is installed, PEFT imports it, and that logs which of its kernels are missing
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        module = importlib.import_module("peft")
    except ImportError as error:
        raise MissingExtra(
            "Fine-tuning and adapters need PEFT, which is not installed.",
            hint="pip install 'gemma_lab[fine-tuning]'",
        ) from error
    finally:
        logger.setLevel(level)
    from packaging.version import Version

    if Version(Version(module.__version__).base_version) < Version(_SINCE):
        raise TooOld(
            f"Fine-tuning needs PEFT {_SINCE} or newer; {module.__version__} is installed.",
            hint="pip install --upgrade 'gemma_lab[fine-tuning]', then restart the kernel.",
        )
    return module
