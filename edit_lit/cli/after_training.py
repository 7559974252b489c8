"""What the verbs share that change a finished run's weights at once: ``erase`` and ``rewrite``."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner

from edit_lit.language_model import LanguageModel
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.text import first_line


def merge_adapter(language_model: LanguageModel) -> None:
    """Merge an adapter into the weights: what is changed afterwards is what the model multiplies by.

    Raises:
        ConfigError: If it is none that can be merged.
    """
    model = language_model.model
    if not isinstance(model, PeftModel):
        return
    if not isinstance(model.base_model, BaseTuner):
        raise ConfigError(
            "the run learnt a prompt, which is in none of the weights that could be changed. Name a run that trains "
            "weights, or an adapter that can be merged into them."
        )
    try:
        language_model.model = model.merge_and_unload()
    except (NotImplementedError, ValueError) as error:
        raise ConfigError(
            f"the run's adapter cannot be merged into the weights: {first_line(error)}. Name a run with LoRA, DoRA or "
            "FullTuning."
        ) from error


def free_folder(path: Path) -> Path:
    """A folder that can be made.

    Raises:
        ConfigError: If something is there already.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"--output is {path}, which is there already. Name another folder, or remove it.")
    return path
