"""int8 and int4 as a quantisation method of transformers: weights are packed while they are read.

transformers reads a tensor, calls the operation here, and keeps what it returns, so that a model is never
held in 16 bits. The method is registered under `METHOD` when this module is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from ...planning.quantization import integer_weights
from .integers import quantize
from .layers import SCALES, IntExperts, IntLinear, IntTable, IntTiedHead, packed_parameters
from .parts import part_of

METHOD = "gemma_lab_integers"
"""``quant_method`` in a configuration."""

PACKED = ("attention", "mlp", "experts")
"""Parts whose matrices are packed; the tables only if the configuration says so."""

_TABLES = ("embedding", "ple_table")
#: Earlier releases of transformers, such as 5.15, cast a weight to the dtype of the parameter that stands for
#: it before it is packed, which would round it to integers.
_READS_AS_PLACEHOLDER = not hasattr(HfQuantizer, "get_new_dtype")


@register_quantization_config(METHOD)
class IntegerConfig(QuantizationConfigMixin):
    """Configuration of the method.

    Parameters
    ----------
    bits
        Of a weight: 8 or 4.
    group_size
        Weights that share a 16-bit scale.
    embeddings
        Bits of a weight of the embedding tables: 8 or 4, or 16 to leave them.
    keep
        Parts of `PACKED` to leave.
    """

    def __init__(
        self,
        bits: int = 8,
        group_size: int = 32,
        embeddings: int = 16,
        keep: Iterable[str] = (),
        **_: Any,
    ) -> None:
        self.quant_method: Any = METHOD
        self.bits, self.group_size, self.embeddings = bits, group_size, embeddings
        self.keep = list(keep)

    @property
    def name(self) -> str:
        """The name that `gemma_lab.planning.integer_weights` gives it."""
        made = integer_weights(
            self.bits, group_size=self.group_size, embeddings=self.embeddings, keep=self.keep
        )
        return made.name


@register_quantizer(METHOD)
class IntegerQuantizer(HfQuantizer):
    """Replaces the modules before their weights are read, and packs each weight after."""

    quantization_config: IntegerConfig

    @property
    def is_trainable(self) -> bool:
        """Adapters can be trained over packed weights, which are dequantised for each call."""
        return True

    def is_serializable(self, *_: Any, **__: Any) -> bool:
        """Return False: a packed model is made from its 16-bit checkpoint each time."""
        return False

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        """Return whether a parameter is to be packed."""
        owner, _dot, name = param_name.rpartition(".")
        module = model.get_submodule(owner)
        if isinstance(module, IntLinear | IntTable):
            return name == "weight"
        return isinstance(module, IntExperts) and name in ("gate_up_proj", "down_proj")

    def param_element_size(self, model: Any, param_name: str, param: torch.Tensor) -> float:
        """Return the bytes of a weight once it is packed, for device maps that are made before."""
        if not (param.is_floating_point() and self.param_needs_quantization(model, param_name)):
            return float(param.element_size())
        module = model.get_submodule(param_name.rpartition(".")[0])
        return float(module.bits / 8)  # its scales are buffers of their own

    def get_quantize_ops(self) -> ConversionOps:
        """Return the operation that packs a weight."""
        return _Pack()

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
        config = self.quantization_config
        options = {"bits": config.bits, "group_size": config.group_size}
        packed = [part for part in PACKED if part not in config.keep]
        tables = {"bits": config.embeddings, "group_size": config.group_size}
        for name, module in list(model.named_modules()):
            part = part_of(f"{name}.weight")
            if part in packed and _is_experts(module):
                model.set_submodule(name, IntExperts(module, **options))
            elif part in packed and type(module) is nn.Linear:
                model.set_submodule(name, IntLinear(module, **options))
            elif part in _TABLES and config.embeddings < 16 and isinstance(module, nn.Embedding):
                model.set_submodule(name, IntTable(module, **tables))
        if config.embeddings < 16:
            self._pack_head(model, tables)
        if _READS_AS_PLACEHOLDER:
            _float_placeholders(model)
        return model

    def _pack_head(self, model: Any, options: dict[str, int]) -> None:
        head = model.get_output_embeddings()
        name = next((name for name, module in model.named_modules() if module is head), None)
        if head is None or name is None:
            return
        if model.config.get_text_config().tie_word_embeddings:
            model.all_tied_weights_keys.pop(f"{name}.weight", None)
            model.set_submodule(name, IntTiedHead(model.get_input_embeddings()))
        else:
            model.set_submodule(name, IntLinear(head, **options))

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        for module in model.modules():
            if isinstance(module, IntTable):
                module.finish()
        return model


class _Pack(ConversionOps):
    """Turns each weight that was read into its codes and its scales."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],  # noqa: ARG002 — the operation's signature
        target_patterns: list[str],  # noqa: ARG002
        **options: Any,
    ) -> dict[str, Any]:
        """Return the codes and the scales of weights, by name."""
        model, packed = options["model"], dict[str, Any]()
        for name, found in input_dict.items():
            weight = found[0] if isinstance(found, list) else found
            module = model.get_submodule(name.rpartition(".")[0])
            made = quantize(weight, bits=module.bits, group_size=module.group_size)
            packed[name] = nn.Parameter(made.codes, requires_grad=False)
            packed[name + SCALES] = made.scales
        return packed


def _float_placeholders(model: Any) -> None:
    """Give the parameters that are to be packed the shape and dtype of the weights that are read for them."""
    dtype = model.dtype
    for module in list(model.modules()):
        for name, shape in packed_parameters(module).items():
            weights = torch.empty(shape, dtype=dtype, device="meta")
            module.register_parameter(name, nn.Parameter(weights, requires_grad=False))


def _is_experts(module: Any) -> bool:
    """Return whether a module holds the weights of all experts of a layer, as transformers stacks them."""
    return all(getattr(getattr(module, name, None), "ndim", 0) == 3 for name in ("gate_up_proj", "down_proj"))
