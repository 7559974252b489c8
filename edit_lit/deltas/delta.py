"""What an edit changed, as something that can be applied, taken back, saved and merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edit_lit.deltas.updates import LowRank, Update, added, update_of
from edit_lit.errors import ConfigError
from edit_lit.files import write_atomically

__all__ = ["Delta", "LowRank", "Provenance"]


@dataclass(frozen=True)
class Provenance:
    """Where a Delta comes from; a saved one is reused only if all of it but ``diagnostics`` and ``versions`` agrees.

    Args:
        editor: The editor's class.
        options: The editor's constructor arguments.
        model: Fingerprint of the unedited model.
        requests: Hash of the requests.
        layers: The edited layers.
        diagnostics: What the editor noticed: unconverged target values, conditioning, and the like.
        versions: Versions of this package, torch and transformers.
    """

    editor: str
    options: Mapping[str, Any]
    model: str
    requests: str
    layers: tuple[int, ...]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(
        default_factory=lambda: {name: version(name) for name in ("edit_lit", "torch", "transformers")}
    )


class Delta:
    """The weight updates of an edit.

    Args:
        updates: The update of each parameter, by the parameter's name in the Hugging Face model.
        provenance: What made it.
    """

    def __init__(self, updates: Mapping[str, Update], provenance: Provenance) -> None:
        self.updates = dict(updates)
        self.provenance = provenance
        self._originals: dict[str, Tensor] = {}

    @property
    def layers(self) -> tuple[int, ...]:
        """The edited layers."""
        return self.provenance.layers

    @property
    def applied(self) -> bool:
        """Whether this object has changed a model and can take the change back."""
        return bool(self._originals)

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Add the updates to a Hugging Face model's weights.

        Sums are formed in float64 and rounded once to the weights' type; a small update added in a
        half-precision type would be lost.

        Raises:
            ConfigError: If it is applied already, or a parameter is missing or of another shape.
        """
        if self.applied:
            raise ConfigError("this Delta is applied already. Revert it before applying it again.")
        targets = {name: self._parameter(model, name) for name in self.updates}
        for name, parameter in targets.items():
            self._originals[name] = parameter.detach().clone()
            parameter.copy_(parameter.double() + self.updates[name].dense().to(parameter.device))

    @torch.no_grad()
    def revert(self, model: nn.Module) -> None:
        """Put the weights back, bit for bit, as they were before :meth:`apply`.

        Raises:
            ConfigError: If this object was not applied.
        """
        if not self.applied:
            raise ConfigError("this Delta is not applied, so there is nothing to revert. Call apply first.")
        for name, original in self._originals.items():
            self._parameter(model, name).copy_(original)
        self._originals = {}

    @contextmanager
    def reverted(self, model: nn.Module) -> Iterator[None]:
        """The unedited model, for the length of a ``with`` block."""
        self.revert(model)
        try:
            yield
        finally:
            self.apply(model)

    def norms(self) -> dict[str, float]:
        """Frobenius norm of each update."""
        return {name: update.norm() for name, update in self.updates.items()}

    @torch.no_grad()
    def relative_norms(self, model: nn.Module) -> dict[str, float]:
        """‖Δ‖/‖W‖ of each parameter, against the unedited weights."""
        return {
            name: norm / float(self._originals.get(name, self._parameter(model, name)).double().norm())
            for name, norm in self.norms().items()
        }

    def merge(self, other: Delta) -> Delta:
        """Both edits as one Delta, whose updates are the sums.

        Raises:
            ConfigError: If the two were made for different models.
        """
        if self.provenance.model != other.provenance.model:
            raise ConfigError("the two Deltas were made for different models. Merge Deltas of one unedited model.")
        updates = dict(self.updates)
        for name, update in other.updates.items():
            updates[name] = added(updates[name], update) if name in updates else update
        provenance = Provenance(
            editor=f"{self.provenance.editor}+{other.provenance.editor}",
            options={"parts": [dict(self.provenance.options), dict(other.provenance.options)]},
            model=self.provenance.model,
            requests=hashlib.sha256((self.provenance.requests + other.provenance.requests).encode()).hexdigest(),
            layers=tuple(sorted({*self.layers, *other.layers})),
        )
        return Delta(updates, provenance)

    def hash(self) -> str:
        """A hash of the updates, bit for bit."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the updates as safetensors, with the provenance as metadata."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self._tensors().items()}
        metadata = {"provenance": json.dumps(asdict(self.provenance), sort_keys=True)}
        write_atomically(Path(path), lambda temporary: save_file(tensors, temporary, metadata))

    @classmethod
    def load(cls, path: str | Path) -> Delta:
        """Read a saved Delta.

        Raises:
            ConfigError: If the file is truncated or is not a Delta.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                stored = json.loads((file.metadata() or {})["provenance"])
                parts: dict[str, dict[str, Tensor]] = {}
                for key in sorted(file.keys()):
                    name, part = key.rsplit("|", 1)
                    parts.setdefault(name, {})[part] = file.get_tensor(key)
            updates = {name: update_of(tensors) for name, tensors in parts.items()}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise ConfigError(f"{path} holds no complete Delta ({error}). Remove it and edit again.") from error
        return cls(updates, Provenance(**{**stored, "layers": tuple(stored["layers"])}))

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}|{part}": tensor
            for name, update in self.updates.items()
            for part, tensor in update.tensors().items()
        }

    def _parameter(self, model: nn.Module, name: str) -> nn.Parameter:
        try:
            parameter = model.get_parameter(name)
        except AttributeError as error:
            raise ConfigError(
                f"the model has no parameter {name}; this Delta was made for another one. Edit this model anew."
            ) from error
        shape = self.updates[name].shape
        if tuple(parameter.shape) != shape:
            raise ConfigError(
                f"{name} is {tuple(parameter.shape)}, the Delta's update {shape}: made for another model. "
                "Edit this model anew."
            )
        return parameter
