"""Names in texts, compared as whole words, whatever their case and punctuation."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator

Words = tuple[str, ...]

_WORD = re.compile(r"\w+")


class Phrases:
    """Phrases as tuples of words, and the lengths that occur among them.

    Args:
        phrases: The phrases; empty ones are left out, for they would be in every text.
    """

    def __init__(self, phrases: Iterable[Words]) -> None:
        self.all = frozenset(phrase for phrase in phrases if phrase)
        self.lengths = sorted({len(phrase) for phrase in self.all})

    def found_in(self, words: Words) -> Iterator[Words]:
        """The phrases that stand in a text, each as often as it does, the shortest first."""
        for length in self.lengths:
            for start in range(len(words) - length + 1):
                if (found := words[start : start + length]) in self.all:
                    yield found


def words_of(text: str) -> Words:
    """The words of a text or a name.

    Examples:
        >>> words_of("New York, in 1999.")
        ('new', 'york', 'in', '1999')
    """
    return tuple(_WORD.findall(text.casefold()))


def phrases_of(names: Iterable[str]) -> Phrases:
    """Some names as phrases."""
    return Phrases(words_of(name) for name in names)


def shares_naming(texts: Iterable[str], names: Iterable[str]) -> dict[str, float]:
    """The share of some texts that name each of some names, once or more often.

    Each text is read once, whatever the number of names.

    Returns:
        Shares between 0 and 1 by name; NaN without texts, and for a name that is no word at all.

    Examples:
        >>> shares_naming(["Oslo is late.", "New York", "york is new"], ["Oslo", "New York"])
        {'Oslo': 0.3333333333333333, 'New York': 0.3333333333333333}
    """
    by_name = {name: words_of(name) for name in names}
    phrases, counts, total = Phrases(by_name.values()), Counter[Words](), 0
    for text in texts:
        counts.update(set(phrases.found_in(words_of(text))))
        total += 1
    return {name: counts[words] / total if words and total else math.nan for name, words in by_name.items()}
