"""Which edits a run lost, as an attribution takes them up."""

from __future__ import annotations

from edit_lit.attribution.attribute import Recorded
from edit_lit.attribution.losses import find_losses
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.scores import Rule
from edit_lit.reports.run import Run
from edit_lit.utilities.errors import ConfigError


def check_explainable(run: Run) -> None:
    """Refuse a run that holds no edit to lose.

    Raises:
        ConfigError: Saying why.
    """
    if run.is_control or Pool.EDITED not in run.probes:
        raise ConfigError(f"{run.folder} is a control that edited nothing, so no edit was lost. Name a run that edits.")
    if run.diverged_at is not None:
        raise ConfigError(
            f"{run.folder} diverged at step {run.diverged_at}, so its last weights answer nothing. Explain a run with "
            "less learning rate."
        )


def recorded_losses(run: Run, step: int, rule: Rule) -> Recorded:
    """What the probes of a run found right after the edit and at a step, and which edits were lost between them.

    Args:
        run: The run.
        step: Optimizer steps taken by the model that is to be looked at.
        rule: The success rule.

    Raises:
        ConfigError: If there is no probe at either end, or no edit took.
    """
    curve = run.curve(Pool.EDITED)
    first = min(curve)
    if first > 0:
        raise ConfigError(
            f"{run.folder} has no probe from right after the edit, only from step {first} on, so it is not known which "
            "edits took. Run it again."
        )
    if step not in curve:
        raise ConfigError(
            f"{run.folder} was asked nothing at step {step}, which its weights are of (its last probe is of step "
            f"{run.last_step}). Go on with it: python -m edit_lit fit --resume {run.folder}"
        )
    losses = find_losses(run.before(Pool.EDITED), curve[first], curve[step], rule)
    if not losses.took:
        raise ConfigError(
            f"no fact of {run.folder} is right after the edit that was not before ({rule}), so none could be lost. "
            "Make an edit that takes: more steps, other layers or fewer facts."
        )
    return Recorded(step, curve[first], curve[step], losses)
