"""A run's model as it ended, built again from the run's folder: its config, its Delta and its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import ArgumentError

from edit_lit.checkpoint_io import AtomicCheckpointIO
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.plan import naming_directory
from edit_lit.cli.resume import EarlierRun
from edit_lit.cli.sentences import in_one_line
from edit_lit.deltas import Delta, ModelStates
from edit_lit.facts.request import EditRequest, fact_hash
from edit_lit.facts.source import FactSource
from edit_lit.fine_tuner import FineTuner
from edit_lit.measures.outcome_files import FOLDER, FactNames
from edit_lit.tuning.checkpoints import check_checkpoint
from edit_lit.utilities.config_files import check_config_file
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.run_files import CONFIG, DELTA, LAST


@dataclass(frozen=True)
class KeptRun:
    """What a run's folder holds of its end.

    Args:
        earlier: Its last checkpoint.
        delta: Its edit.
    """

    earlier: EarlierRun
    delta: Delta

    @classmethod
    def read(cls, folder: Path) -> KeptRun:
        """Read edit and checkpoint of a run.

        Raises:
            ConfigError: If one of them is missing or damaged, or they are not of one run.
        """
        earlier = EarlierRun.in_folder(folder)
        if not (folder / DELTA).exists():
            raise ConfigError(
                f"{folder} has no {DELTA}. Make the edit again with: python -m edit_lit edit --config "
                f"{folder / CONFIG} --output {folder / DELTA}"
            )
        delta = Delta.load(folder / DELTA)
        if earlier.checkpoint is None:
            raise ConfigError(
                f"{folder} has no {LAST}, so its fine-tuned weights are not known. Run it to its end with "
                "trainer.enable_checkpointing left out."
            )
        if earlier.edit != delta.hash():
            raise ConfigError(
                f"{earlier.checkpoint} was trained on another edit than {folder / DELTA}: one of them is of another "
                "run. Bring back the one that belongs there, or run it again."
            )
        return cls(earlier, delta)

    def facts(self, names: FactNames) -> list[EditRequest]:
        """The facts that the run edited, in their order.

        Args:
            names: What the run's records call them.

        Raises:
            ConfigError: If the config's source yields others than the records are of.
        """
        config = _config_of(self.earlier.folder)
        _seed(config)
        source = self._made("edits", FactSource | None, config.get("data", {}).get("edits"))
        with naming_directory(self.earlier):
            facts: list[EditRequest] = source.load() if source is not None else []
        if [fact_hash(fact) for fact in facts] != list(names.fact):
            raise ConfigError(
                f"{self.earlier.folder / FOLDER} is of other facts than data.edits yields now: its source has changed "
                "since, or the records are another run's. Bring back the facts, or run it again."
            )
        return facts

    def states(self, device: torch.device | str) -> ModelStates:
        """The run's model, fine-tuned as its last checkpoint has it, and its states.

        Args:
            device: Where it is put.

        Raises:
            ConfigError: If the model is not the one that the edit was made for, or the checkpoint does not fit.
        """
        config = _config_of(self.earlier.folder)
        _seed(config)
        fine_tuner: FineTuner = self._made("model", FineTuner, config.get("model", {}))
        assert self.earlier.checkpoint is not None
        stored = AtomicCheckpointIO().load_checkpoint(self.earlier.checkpoint, weights_only=True)
        fine_tuner.to(device)
        fine_tuner.take_edit(self.delta)
        fine_tuner.keeps_states = True
        fine_tuner.configure_model()
        trainable = {name: p for name, p in fine_tuner.named_parameters() if p.requires_grad}
        check_checkpoint(stored, self.delta.hash(), trainable, resume=False)
        fine_tuner.load_state_dict(stored["state_dict"], strict=False)
        assert fine_tuner.states is not None
        return fine_tuner.states

    def _made(self, key: str, kind: Any, options: Any) -> Any:
        """A part of the run's config, made."""
        quiet_libraries()
        parser = EditArgumentParser()
        if isinstance(kind, type):
            parser.add_lightning_class_args(kind, key)
        else:
            parser.add_argument(f"--{key}", type=kind)
        try:
            with naming_directory(self.earlier), naming_part({key: options}):
                return parser.instantiate_classes(parser.parse_object({key: options}))[key]
        except ArgumentError as error:
            raise ConfigError(f"{self.earlier.folder / CONFIG} cannot be used: {in_one_line(str(error))}") from error


def _config_of(folder: Path) -> dict[str, Any]:
    return dict(check_config_file(str(folder / CONFIG)))


def _seed(config: Mapping[str, Any]) -> None:
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not isinstance(seed, bool):
        L.seed_everything(seed, verbose=False)
