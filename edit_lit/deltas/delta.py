"""A Delta: what an edit changes in a model, to be applied, reverted, saved, loaded and merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import Tensor

from edit_lit.deltas.part import Part
from edit_lit.deltas.provenance import Provenance
from edit_lit.deltas.updates import Update
from edit_lit.deltas.weight_part import WeightPart
from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.finite import check_finite
from edit_lit.utilities.identity import content_hash
from edit_lit.utilities.tensor_files import read_fields, read_tensors, write_tensors

_FORMAT = {"kind": "Delta", "version": "1"}
"""What a file must say of itself; the version is raised when what it holds changes."""


class Delta:
    """What an edit changes in a model.

    Args:
        parts: The changes, each of one kind; they are applied in this order.
        provenance: What made them.

    Raises:
        ConfigError: If a part holds NaN or infinity.
    """

    def __init__(self, parts: Sequence[Part], provenance: Provenance) -> None:
        self.parts = list(parts)
        self.provenance = provenance
        self._applied = False
        self._check_finite()

    @property
    def layers(self) -> tuple[int, ...]:
        """The edited layers."""
        return self.provenance.layers

    @property
    def updates(self) -> dict[str, Update]:
        """The updates of existing weights, by parameter; empty if the edit changes none."""
        return {name: update for part in self._weight_parts() for name, update in part.updates.items()}

    @property
    def applied(self) -> bool:
        """Whether this object has changed a model and can take the change back."""
        return self._applied

    def apply(self, language_model: LanguageModel, other_weights: bool = False) -> None:
        """Put the edit into a model, below any adapter that it wears.

        Args:
            language_model: The model.
            other_weights: Apply it although the weights that it changes are not those that it was made for: another
                model's, fine-tuned, edited before, or of another type. What comes of it is for you to measure.

        Raises:
            ConfigError: If it is applied already, holds NaN, does not fit the model, or was made for other weights;
                nothing is changed then.
        """
        if self._applied:
            raise ConfigError("this Delta is applied already. Revert it before applying it again.")
        self._check_finite()
        for part in self.parts:
            part.check(language_model)
            if not other_weights:
                part.check_remembered(language_model)
        attached: list[Part] = []
        try:
            for part in self.parts:
                part.attach(language_model)
                attached.append(part)
        except BaseException:
            for part in reversed(attached):
                part.detach(language_model)
            raise
        self._applied = True

    def revert(self, language_model: LanguageModel) -> None:
        """Put the model back, bit for bit, as it was before :meth:`apply`.

        Raises:
            ConfigError: If this object was not applied, or the edited weights have changed since, by fine-tuning or
                by another Delta; nothing is changed then.
        """
        self._check_applied()
        for part in self.parts:
            part.check_unchanged(language_model)
        for part in reversed(self.parts):
            part.detach(language_model)
        self._applied = False

    @contextmanager
    def suspended(self, language_model: LanguageModel) -> Iterator[None]:
        """The model without this edit for the length of a ``with`` block; nothing trained since is lost.

        Weights that the edit changed are as they were before it; all others are as they are now. For the whole
        unedited model after training see :class:`~edit_lit.deltas.model_states.ModelStates`.

        Raises:
            ConfigError: If this object was not applied.
        """
        self._check_applied()
        with ExitStack() as stack:
            for part in reversed(self.parts):
                stack.enter_context(part.suspended(language_model))
            yield

    def norms(self) -> dict[str, float]:
        """Frobenius norm of each weight's update."""
        return {name: update.norm() for name, update in self.updates.items()}

    def relative_norms(self, language_model: LanguageModel) -> dict[str, float]:
        """‖Δ‖/‖W‖ of each weight, against the unedited one."""
        return {
            name: update.norm() / part.original_norm(language_model, name)
            for part in self._weight_parts()
            for name, update in part.updates.items()
        }

    def merge(self, other: Delta) -> Delta:
        """Both edits as one Delta: updates of one weight are added up, parts of other kinds stand side by side.

        Raises:
            ConfigError: If the two were made for different models.
        """
        if self.provenance.model != other.provenance.model:
            raise ConfigError("the two Deltas were made for different models. Merge Deltas of one unedited model.")
        provenance = Provenance(
            editor=f"{self.provenance.editor}+{other.provenance.editor}",
            options={"parts": [dict(self.provenance.options), dict(other.provenance.options)]},
            model=self.provenance.model,
            tokenizer=self.provenance.tokenizer,
            requests=content_hash(self.provenance.requests, other.provenance.requests),
            layers=tuple(sorted({*self.layers, *other.layers})),
            code=content_hash(self.provenance.code, other.provenance.code),
        )
        return Delta(_merged(self.parts, other.parts), provenance)

    def hash(self) -> str:
        """A hash of all parts, bit for bit."""
        digest = hashlib.sha256(_description(self.parts).encode())
        for name, tensor in sorted(_tensors(self.parts).items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the parts as safetensors, with their kinds, the provenance and checksums as metadata.

        Raises:
            ConfigError: If a part holds NaN or infinity, or the file cannot be written.
        """
        self._check_finite()
        fields = {"parts": _description(self.parts), "provenance": self.provenance.to_json()}
        write_tensors(Path(path), _tensors(self.parts), {**fields, **_FORMAT})

    @classmethod
    def load(cls, path: str | Path, kinds: Sequence[type[Part]] = (WeightPart,)) -> Delta:
        """Read a saved Delta.

        Args:
            path: The file.
            kinds: The kinds of part that it may hold; name your own to load them.

        Raises:
            ConfigError: If the file is damaged or no Delta, or holds a part of another kind or NaN.
        """
        by_kind = {kind.kind: kind for kind in kinds}
        try:
            stored, fields = read_tensors(Path(path), _FORMAT)
            described, provenance = json.loads(fields["parts"]), Provenance.from_json(fields["provenance"])
            unknown = sorted({part["kind"] for part in described} - by_kind.keys())
            if unknown:
                raise ValueError(f"parts of the kind {', '.join(unknown)}, of which `kinds` names no class")
            parts = [
                by_kind[part["kind"]].restore(_part_of(stored, number, part["kind"]), part["fields"])
                for number, part in enumerate(described)
            ]
            return cls(parts, provenance)
        except FileNotFoundError as error:
            raise ConfigError(f"{path} does not exist. Name the file that an edit wrote.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} holds no complete Delta ({error}). Remove it and edit again.") from error

    def _check_applied(self) -> None:
        if not self._applied:
            raise ConfigError("this Delta is not applied, so there is nothing to revert. Call apply first.")

    def _check_finite(self) -> None:
        remedy = "Edit again, with the model in float32, less learning rate or fewer facts."
        for part in self.parts:
            for name, tensor in part.tensors().items():
                check_finite(tensor, f"the Delta's {part.kind} {name.replace('|', ', ')}", remedy)

    def _weight_parts(self) -> list[WeightPart]:
        return [part for part in self.parts if isinstance(part, WeightPart)]


def read_provenance(path: str | Path) -> Provenance:
    """Where a saved Delta comes from, without reading its tensors.

    Raises:
        ConfigError: If the file is no Delta.
    """
    try:
        return Provenance.from_json(read_fields(Path(path), _FORMAT)["provenance"])
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist. Name the file that an edit wrote.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} holds no Delta ({error}). Name the file that an edit wrote.") from error


def _merged(ours: Sequence[Part], theirs: Sequence[Part]) -> list[Part]:
    """All parts, those that can be one as one."""
    merged = list(ours)
    for part in theirs:
        for place, mine in enumerate(merged):
            both = mine.merged(part)
            if both is not None:
                merged[place] = both
                break
        else:
            merged.append(part)
    return merged


def _description(parts: Sequence[Part]) -> str:
    return json.dumps([{"kind": part.kind, "fields": dict(part.fields())} for part in parts], sort_keys=True)


def _tensors(parts: Sequence[Part]) -> dict[str, Tensor]:
    """All parts' tensors; a name is led by its part's number and kind."""
    return {
        f"{number}.{part.kind}|{name}": tensor
        for number, part in enumerate(parts)
        for name, tensor in part.tensors().items()
    }


def _part_of(tensors: Mapping[str, Tensor], number: int, kind: str) -> dict[str, Tensor]:
    start = f"{number}.{kind}|"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
