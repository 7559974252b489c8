"""What is wrong with a text, and how messages quote one."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 100_000
"""Characters beyond which a name or a prompt is taken for damage: more than any model has positions for."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ZERO_WIDTH = re.compile("[\u200b\u2060\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def damage_in(text: str) -> str | None:
    """What no text holds unless its file was damaged or read the wrong way; nothing if it is fine."""
    if text.isprintable():
        return None
    surrogate = _SURROGATE.search(text)
    if surrogate:
        return f"holds half a surrogate pair, {_code(surrogate)}"
    return "holds the character U+0000" if "\x00" in text else None


def flaw_in(text: str) -> str | None:
    r"""What makes a text useless: damage, or nothing to see in it.

    Examples:
        >>> flaw_in("Oslo"), flaw_in("\u200b "), flaw_in("Os\x00lo")
        (None, 'is blank', 'holds the character U+0000')
    """
    return damage_in(text) or ("is blank" if is_blank(text) else None)


def flaw_in_prompt(text: str) -> str | None:
    """What makes a text useless in a prompt or an answer: besides the above, control characters and gigantic length."""
    if len(text) > LONGEST:
        return f"is {len(text)} characters long"
    control = None if text.isprintable() else _CONTROL.search(text)
    return flaw_in(text) or (f"holds the control character {_code(control)}" if control else None)


def flaw_in_name(text: str) -> str | None:
    """What makes a text useless as a name: besides the above, characters without width, which nobody sees."""
    zero_width = None if text.isprintable() else _ZERO_WIDTH.search(text)
    return flaw_in_prompt(text) or (f"holds {_code(zero_width)}, which has no width" if zero_width else None)


def is_blank(text: str) -> bool:
    """Whether a text holds nothing that can be seen: white space, control and format characters only."""
    if text.isprintable():
        return not text.strip()
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


def shown(value: object, width: int = 80) -> str:
    """A value as messages quote it: on one line, its middle left out if it is long.

    Examples:
        >>> shown("x" * 100, width=11)
        "'xxx…xxxx'"
    """
    return shortened(repr(value), width)


def shortened(text: str, width: int = 80) -> str:
    """A text with its middle left out if it is long."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[: half - 1]}…{text[-half:]}"


def first_line(error: BaseException) -> str:
    """A library's error as one line, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).removesuffix(".")


def _code(match: re.Match[str]) -> str:
    return f"U+{ord(match[0]):04X}"
