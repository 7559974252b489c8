"""A run that has ended, loaded with its three states: unedited, edited and fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from torch import Tensor, nn

from edit_lit.checkpoint_io import AtomicCheckpointIO
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.plan import flat_options, naming_directory
from edit_lit.cli.resolving import OptionReader
from edit_lit.cli.resume import EarlierRun
from edit_lit.deltas import Delta, DeltaCache, ModelStates
from edit_lit.editors import Editor
from edit_lit.facts.request import EditRequest, fact_hash, subjects_of
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model import LanguageModel
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.measures.outcome_files import FOLDER, read_names
from edit_lit.measures.outcomes import Pool
from edit_lit.reports.run import Run
from edit_lit.tuning.checkpoints import check_checkpoint
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import CONFIG, DELTA, LAST

_MADE_BY_TRAINER = ("callbacks", "logger", "plugins", "profiler", "strategy")
_SAME_AS_CONTROL = ("model", "data", "seed_everything")


@dataclass(frozen=True)
class FinishedRun:
    """A run at its last checkpoint, ready to be asked.

    Args:
        run: Its records.
        requests: The facts that it edited, in the order of its records.
        fine_tuner: Its module, whose language model is the fine-tuned one, in evaluation mode.
        states: The way back to the edited and the unedited model.
        data: Its data module, which has not been set up.
        options: Its options.
        step: Optimizer steps taken.
        editor: The editor that it names; none if it names none.
        cache: Where its edits are kept.
    """

    run: Run
    requests: list[EditRequest]
    fine_tuner: FineTuner
    states: ModelStates
    data: Any
    options: Namespace
    step: int
    editor: Editor | None
    cache: DeltaCache

    @property
    def language_model(self) -> LanguageModel:
        """The fine-tuned model."""
        return self.states.language_model

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that trained, by the names that checkpoints know."""
        return _trainable(self.fine_tuner)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device | None = None, control: bool = False) -> FinishedRun:
        """Load a run from its config, its last checkpoint, its edit and its records.

        It sets the global seed to that of the run, by which its facts may have been chosen.

        Args:
            folder: The run's folder.
            device: Where the model is put; an accelerator if there is one and the run did not choose otherwise.
            control: Take a run that names an editor and edited nothing as well.

        Raises:
            ConfigError: If one of them is missing, damaged or of another run, saying how to get it; or if the run
                edited nothing.
        """
        earlier = at_last_checkpoint(folder)
        checkpoint = _checkpoint(earlier)
        if checkpoint["edit"] is None and not control:
            raise ConfigError(f"the run in {folder} edited nothing, so that there are no edits to look for.")
        if checkpoint["edit"] is not None and earlier.delta is None:
            raise ConfigError(
                f"{folder} has no {DELTA}. Make the edit again with: python -m edit_lit edit --config "
                f"{folder / CONFIG} --output {folder / DELTA}"
            )
        run = Run.read(folder)
        if run.diverged_at is not None:
            raise ConfigError(f"the run in {folder} diverged at step {run.diverged_at}. Name one that did not.")
        if run.last_step != earlier.step:
            raise ConfigError(
                f"{folder} was last probed at step {run.last_step}, but its checkpoint is of step {earlier.step}. "
                f"Let it come to its end: python -m edit_lit fit --resume {folder}"
            )
        options = OptionReader().read([folder / CONFIG])
        made = _made(options, earlier)
        fine_tuner = made.model
        requests = made.data.load_edits()
        _check_facts(folder, requests, Pool.UNEDITED if checkpoint["edit"] is None else Pool.EDITED)
        delta = _the_edit(earlier, checkpoint, made.edit.editor)
        if device is None and torch.cuda.is_available() and options.trainer.accelerator not in ("cpu", "mps"):
            device = "cuda"
        if device is not None:
            fine_tuner.language_model.to(torch.device(device))
        states = _prepared(fine_tuner, delta, made.edit.editor)
        check_checkpoint(checkpoint, checkpoint["edit"], _trainable(fine_tuner), resume=False)
        fine_tuner.load_state_dict(checkpoint["state_dict"], strict=False)
        fine_tuner.eval()
        cache = DeltaCache(made.edit.cache_dir)
        return cls(run, requests, fine_tuner, states, made.data, options, earlier.step, made.edit.editor, cache)

    def load_intrinsic(self) -> list[EditRequest]:
        """The intrinsic facts that the run asked about, in the order of its records; none if it had none.

        The model is not asked again which facts it knows: that might round to another choice here.

        Raises:
            ConfigError: If their source does not hold them all any more.
        """
        intrinsic = self.data.intrinsic
        if intrinsic is None:
            return []
        source = intrinsic.source if isinstance(intrinsic, IntrinsicPool) else intrinsic
        known = {fact_hash(request): request for request in source.load(exclude_subjects=subjects_of(self.requests))}
        asked = read_names(self.run.folder / FOLDER, [Pool.INTRINSIC])[Pool.INTRINSIC].fact
        if not known.keys() >= set(asked):
            raise ConfigError(
                f"{self.run.folder / FOLDER} is of other facts than data.intrinsic yields now: its source has changed "
                "since. Bring back the facts, or run it again."
            )
        return [known[fact] for fact in asked]

    def control_weights(self, folder: Path) -> dict[nn.Parameter, Tensor]:
        """What the parameters that train became in a run that is this one's control.

        Args:
            folder: A run of the same options with ``edit.apply`` false.

        Raises:
            ConfigError: If it is no such run, or of another number of steps.
        """
        earlier = at_last_checkpoint(folder)
        checkpoint = _checkpoint(earlier)
        if checkpoint["edit"] is not None:
            raise ConfigError(f"--control is {folder}, which edited facts itself. Fit one with --edit.apply false.")
        if earlier.step != self.step:
            raise ConfigError(
                f"--control is {folder}, which took {earlier.step} steps, but the run took {self.step}. Name one of as "
                "many steps."
            )
        ours, theirs = (dict(flat_options(o.as_dict())) for o in (self.options, OptionReader().read([folder / CONFIG])))
        for name in sorted(ours.keys() | theirs.keys()):
            if name.split(".")[0] in _SAME_AS_CONTROL and ours.get(name) != theirs.get(name):
                raise ConfigError(
                    f"--control is {folder}, whose {name} is {theirs.get(name)!r}, but that of the run is "
                    f"{ours.get(name)!r}. Name a run that differs in edit.apply alone."
                )
        check_checkpoint(checkpoint, None, self.trainable, resume=False)
        return {parameter: checkpoint["state_dict"][name] for name, parameter in self.trainable.items()}


def at_last_checkpoint(folder: Path) -> EarlierRun:
    """The run of a folder at its last checkpoint.

    Raises:
        ConfigError: If the folder is none of a run, or there is no checkpoint.
    """
    earlier = EarlierRun.in_folder(folder)
    if earlier.checkpoint is None:
        raise ConfigError(
            f"{folder} has no {LAST}, so its fine-tuned weights are not known. Run it to its end with "
            "trainer.enable_checkpointing left out."
        )
    return earlier


def _checkpoint(earlier: EarlierRun) -> Mapping[str, Any]:
    assert earlier.checkpoint is not None
    return AtomicCheckpointIO().load_checkpoint(earlier.checkpoint, weights_only=True)


def _made(options: Namespace, earlier: EarlierRun) -> Namespace:
    """The run's module, data and editor, without a trainer."""
    if options.seed_everything is not False:
        L.seed_everything(options.seed_everything, workers=True, verbose=False)
    for name in _MADE_BY_TRAINER:
        options.trainer[name] = "auto" if name == "strategy" else None
    with naming_directory(earlier), naming_part(options.as_dict()):
        return OptionReader().parser.instantiate_classes(options)


def _the_edit(earlier: EarlierRun, checkpoint: Mapping[str, Any], editor: Editor | None) -> Delta | None:
    """The edit that a run was trained on; none if it edited nothing."""
    if checkpoint["edit"] is None:
        if editor is None:
            raise ConfigError(
                f"the run of {earlier.checkpoint} edited nothing and names no editor. Name one that has edit.editor, "
                "and edit.apply at false."
            )
        return None
    assert earlier.delta is not None
    delta = Delta.load(earlier.delta, editor.kinds if editor is not None else ())
    if checkpoint["edit"] != delta.hash():
        raise ConfigError(
            f"{earlier.checkpoint} was trained on another edit than {earlier.delta}: one of them is of another "
            "run. Bring back the one that belongs there, or run it again."
        )
    return delta


def _prepared(fine_tuner: FineTuner, delta: Delta | None, editor: Editor | None) -> ModelStates:
    """Edit the model and choose what trains, as a fit does."""
    fine_tuner.keeps_states = True
    if delta is not None:
        fine_tuner.take_edit(delta)
    elif editor is not None:
        fine_tuner.leave_unedited(editor.edited_layers(fine_tuner.language_model))
    fine_tuner.configure_model()
    assert fine_tuner.states is not None
    return fine_tuner.states


def _trainable(fine_tuner: FineTuner) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in fine_tuner.named_parameters() if parameter.requires_grad}


def _check_facts(folder: Path, requests: list[EditRequest], pool: Pool) -> None:
    """Refuse facts that are not those of the run's records."""
    recorded = list(read_names(folder / FOLDER, [pool])[pool].fact)
    if recorded != [fact_hash(request) for request in requests]:
        raise ConfigError(
            f"{folder / FOLDER} is of other facts than data.edits yields now: its source has changed since, or the "
            "records are another run's. Bring back the facts, or run it again."
        )
