"""A Hugging Face causal language model with its tokenizer and the modules that editing works on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from edit_lit.language_model.module_tree import (
    attention_modules,
    find_blocks,
    is_projection,
    plain_parameters,
    projection_shape,
)
from edit_lit.language_model.pretrained import check_usable, load_pretrained
from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class PartNames:
    """Names of a model's modules, for a model in which they cannot be found.

    Args:
        blocks: Path of the list of transformer blocks, such as ``model.layers``.
        output_projection: Path of the MLP's output projection inside a block, such as ``mlp.down_proj``.
    """

    blocks: str | None = None
    output_projection: str | None = None


class LanguageModel(nn.Module):
    """A causal language model with its tokenizer and the modules that editing works on.

    The parts are found from the module tree, never from the model's name, so that any decoder of
    transformers works.

    Args:
        path: A Hugging Face name or a local folder.
        dtype: Weights' type: ``float32``, ``bfloat16``, ``float16``, ``float64`` or ``auto``.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model.
        parts: Names of the model's parts, where they cannot be found.

    Attributes:
        prepared: Whether a FineTuner has prepared this model for training, and perhaps edited and trained it.

    Raises:
        ConfigError: If the model or its tokenizer is missing, damaged or does not fit, if a token changes the logits
            before it (a bidirectional model), or if the blocks cannot be found.
    """

    def __init__(
        self,
        path: str,
        dtype: str = "float32",
        revision: str | None = None,
        trust_remote_code: bool = False,
        parts: PartNames = PartNames(),
    ) -> None:
        super().__init__()
        model, tokenizer = load_pretrained(path, _dtype(dtype), revision, trust_remote_code)
        self._hold(model, tokenizer, parts)

    @classmethod
    def wrap(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parts: PartNames = PartNames()
    ) -> LanguageModel:
        """A language model around a model and tokenizer that are already loaded."""
        language_model = cls.__new__(LanguageModel)
        nn.Module.__init__(language_model)
        language_model._hold(model, tokenizer, parts)
        return language_model

    def _hold(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parts: PartNames) -> None:
        check_usable(model, tokenizer)
        # Also holds an adapter's wrapper later on, which behaves as the model it wraps.
        self.model: PreTrainedModel = model
        self.tokenizer = tokenizer
        # A plain list: the blocks stay the same objects when an adapter wraps the model, and
        # must not be registered a second time.
        self._block_list = list(find_blocks(model, parts.blocks))
        self._output_projection = parts.output_projection
        self.prepared = False

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, lowest first."""
        return self._block_list

    @property
    def head(self) -> nn.Module:
        """The module that turns final hidden states into logits."""
        head = self.model.get_output_embeddings()
        if head is None:
            raise ConfigError(f"{type(self.model).__name__} has no language-model head. Load it as a causal LM.")
        return head

    @property
    def hidden_size(self) -> int:
        """Width d of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def blocks_return_tuples(self) -> bool:
        """Whether this model's blocks return a tuple or a bare tensor, seen in a forward pass of one token."""
        seen: list[bool] = []
        handle = self.blocks[0].register_forward_hook(lambda *call: seen.append(isinstance(call[2], tuple)))
        try:
            with torch.no_grad():
                self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device), use_cache=False)
        finally:
            handle.remove()
        return seen[0]

    def output_projection(self, layer: int) -> nn.Module:
        """The MLP output projection of a block: the matrix whose input is the key.

        It is the widest-input matrix of the block that writes to the residual stream, outside attention.

        Raises:
            ConfigError: If the block has no such matrix, or several (a mixture of experts).
        """
        block = self.blocks[layer]
        if self._output_projection is not None:
            return block.get_submodule(self._output_projection)
        attention = {id(module) for module in attention_modules(block)}
        writers = [
            (name, module)
            for name, module in block.named_modules()
            if id(module) not in attention
            and self._writes(module)
            and not name.endswith("base_layer")  # inside an adapter that is listed itself
        ]
        widest = max((projection_shape(module)[1] for _, module in writers), default=0)
        found = [(name, module) for name, module in writers if projection_shape(module)[1] == widest]
        # Experts are numbered modules, or their matrices are stacked in parameters of three dimensions.
        experts = any(part.isdigit() for name, _ in found for part in name.split(".")) or any(
            parameter.dim() == 3 and self.hidden_size in parameter.shape[1:] for parameter in block.parameters()
        )
        if not found or experts:
            why = "it holds several expert MLPs" if experts else "no matrix there writes to the residual stream"
            raise ConfigError(
                f"block {layer} of {type(self.model).__name__} has no single MLP output projection: {why}. "
                "Name one with language_model.parts.output_projection, or edit another layer."
            )
        return found[-1][1]

    def _writes(self, module: nn.Module) -> bool:
        """Whether a module is a matrix that writes to the residual stream."""
        return is_projection(module) and projection_shape(module)[0] == self.hidden_size

    def attention_projection(self, layer: int) -> nn.Module:
        """The output projection of a block's attention.

        It is the last matrix inside the block's attention that writes to the residual stream.

        Raises:
            ConfigError: If the block has none.
        """
        writers = [module for module in attention_modules(self.blocks[layer]) if self._writes(module)]
        if not writers:
            raise ConfigError(
                f"block {layer} of {type(self.model).__name__} has no attention with an output projection. "
                "Use an editor that works on the MLP alone."
            )
        return writers[-1]

    def parameter_name(self, parameter: nn.Parameter) -> str:
        """The name of a parameter in the plain Hugging Face model, as it is without adapters."""
        return next(name for name, candidate in plain_parameters(self.model) if candidate is parameter)

    def parameter(self, name: str) -> nn.Parameter | None:
        """The parameter of a name in the plain Hugging Face model, also where an adapter is around it now."""
        return next((parameter for plain, parameter in plain_parameters(self.model) if plain == name), None)

    def check_layers(self, layers: list[int], option: str) -> None:
        """Refuse layers that the model does not have.

        Raises:
            ConfigError: Naming the option, the layer and the range that exists.
        """
        for layer in layers:
            if not 0 <= layer < len(self.blocks):
                raise ConfigError(
                    f"{option} names layer {layer}, but the model has {len(self.blocks)} layers, "
                    f"numbered 0 to {len(self.blocks) - 1}."
                )

    def logits_at(self, rows: TokenBatch, where: tuple[Tensor, Tensor]) -> Tensor:
        """Next-token logits at chosen positions only.

        The head's input is reduced before the head runs, so that no other logits are ever computed;
        what the model does to logits afterwards (scaling, soft caps) stays in force.

        Args:
            rows: The input.
            where: Row and column of each position, two index tensors [positions].

        Returns:
            Logits, [positions, vocabulary].
        """

        def reduce(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0][where][None], *inputs[1:])

        handle = self.head.register_forward_pre_hook(reduce)
        try:
            output = self.model(input_ids=rows.ids, **self._surroundings(rows))
        finally:
            handle.remove()
        logits: Tensor = output.logits[0]
        return logits

    @cached_property
    def _takes_positions(self) -> bool:
        inner = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return "position_ids" in inspect.signature(inner.forward).parameters

    def _surroundings(self, rows: TokenBatch) -> dict[str, Any]:
        """Attention mask, position ids and KV cache for a batch."""
        length = rows.ids.shape[1]
        if rows.past is not None:
            # Families with ALiBi have no positions to be given; they count what the mask lets through.
            placed = {"position_ids": rows.past.positions(length)} if self._takes_positions else {}
            cache, mask = rows.past.cache(), rows.past.mask(length)
            return {"past_key_values": cache, "use_cache": True, "attention_mask": mask, **placed}
        if rows.positions is not None:
            return {"position_ids": rows.positions, "use_cache": False}
        # Padding stands on the right, where causality hides it from every real token. Masked out as well,
        # it would have nothing left to attend to in some families, whose softmax then gives NaN.
        return {"attention_mask": torch.ones_like(rows.ids), "use_cache": False}


def working_type(tensor: Tensor) -> torch.dtype:
    """The dtype to compute in for a tensor of weights or activations: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _dtype(name: str) -> torch.dtype | str:
    allowed = ("float32", "bfloat16", "float16", "float64", "auto")
    if name not in allowed:
        raise ConfigError(f"dtype is {name!r}; use one of {', '.join(allowed)}.")
    return name if name == "auto" else getattr(torch, name)
