"""How many positions a model has, and what is too long for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PretrainedConfig

from edit_lit.language_model.model import LanguageModel
from edit_lit.utilities.errors import ConfigError

_NAMES = ("max_position_embeddings", "max_seq_len")


def positions(language_model: LanguageModel) -> int | None:
    """The positions that a model was made for; none if its config names no limit (ALiBi, state-space models)."""
    config: PretrainedConfig = language_model.model.config.get_text_config()
    found = (getattr(config, name, None) for name in _NAMES)
    return next((limit for limit in found if isinstance(limit, int) and limit > 0), None)


def check_lengths(
    language_model: LanguageModel, lengths: Sequence[int], name: Callable[[int], str], remedy: str
) -> None:
    """Refuse rows that are longer than the model has positions for.

    Learnt positions end there, and what a rotary model makes of later ones is no measure of what it knows.

    Args:
        language_model: The model.
        lengths: Tokens of each row.
        name: What the message calls a row, given its number.
        remedy: What to do about it, without a full stop.

    Raises:
        ConfigError: Naming the longest row, its length, the limit and the remedy.
    """
    limit = positions(language_model)
    if limit is None or not lengths:
        return
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[longest] > limit:
        raise ConfigError(
            f"{name(longest)} takes {lengths[longest]} tokens, but {type(language_model.model).__name__} has "
            f"{limit} positions. {remedy}, or use a model with more."
        )
