"""Arrays and tensors of any library as numpy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadMedia

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_numpy(source: Any, *, noun: str) -> NDArray[Any]:
    """Return an array-like value as a numpy array.

    Parameters
    ----------
    source
        A numpy array, a torch tensor on any device and of any dtype (those that numpy has not, such as
        bfloat16, become float32), or anything with ``__array__``.
    noun
        What it should be, for the error: ``"image"``, ``"sound"``.

    Raises
    ------
    BadMedia
        If it has no values to read, as a tensor on the meta device.
    """
    try:
        if hasattr(source, "detach"):
            source = source.detach().cpu()
            if source.is_floating_point() and str(source.dtype) not in ("torch.float32", "torch.float64"):
                source = source.float()  # also float16: exact, and numpy has neither bfloat16 nor float8
        return np.asarray(source)
    except Exception as error:  # any error of another library's conversion
        raise BadMedia(
            f"The {type(source).__name__} cannot be converted to a numpy array: {error}.",
            hint=f"Pass the {noun} as a numpy array.",
        ) from error
