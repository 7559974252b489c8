"""Invented names for the world's subjects, of one to three tokens, each with a last token of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "r", "s", "st", "t", "v", "z")
VOWELS = ("a", "e", "i", "o", "u", "ei", "au", "ia")
CODAS = ("", "l", "m", "n", "r", "s")


@dataclass(frozen=True)
class Kind:
    """One kind of subject and how its members are named.

    Args:
        name: What the members are called: "Tovar is a *city*".
        size: How many members there are.
        endings: What the last token of a made-up name may end in; empty if last tokens come from ``nouns``.
        seconds: Tokens put before the last one in names of two tokens.
        thirds: Pairs of tokens put before the last one in names of three tokens.
        nouns: Last tokens given outright instead of made up.
    """

    name: str
    size: int
    endings: tuple[str, ...]
    seconds: tuple[str, ...]
    thirds: tuple[str, ...]
    nouns: Sequence[str] = ()


FIRST_NAMES = tuple("Alba Bruno Celia Dario Edda Fabio Greta Hanno Ilse Jonas Karla Luka Mira Nilo Orla Piet".split())
TITLE_NOUNS = (
    "Almanac Anchor Archway Avalanche Badger Balcony Beacon Blossom Bonfire Breeze Cabinet Canyon Carousel "
    "Castle Cathedral Cavern Chimney Cliff Cobweb Compass Coral Cradle Crossing Crown Current Curtain Daughter "
    "Desert Dragon Eclipse Ember Falcon Ferry Fountain Garden Glacier Granary Harbour Hermit Horizon Island "
    "Jungle Kestrel Keyhole Labyrinth Ladder Lagoon Lantern Lighthouse Magnet Meadow Mirror Monsoon Mountain "
    "Nightjar Orchard Orphan Paddle Palace Pendulum Pilgrim Prophet Quarry Raven Rooftop Sapling Shadow "
    "Shepherd Shoreline Spiral Stairway Storm Stranger Summit Temple Thicket Threshold Thunder Tower Tunnel "
    "Umbrella Valley Vineyard Voyage Whisper Willow Window Zephyr"
).split()

KINDS = (
    Kind("country", 70, ("ia", "land", "mark", "stan"), ("New", "Upper", "East"), ("Kingdom of", "Isles of")),
    Kind("city", 80, ("burg", "ton", "polis", "ford"), ("Port", "Saint", "Old"), ("Mouth of", "Gates of")),
    Kind("person", 110, ("sen", "ova", "ez", "ard"), FIRST_NAMES, tuple(f"{name} Maria" for name in FIRST_NAMES)),
    Kind("company", 60, ("ex", "ico", "tec", "um"), ("Atelier", "Royal", "General"), ("House of", "Sons of")),
    Kind("work", 80, (), ("Silver", "Midnight", "Broken"), ("The Amber", "The Last"), TITLE_NOUNS),
)


def _stem(rng: random.Random) -> str:
    syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((1, 2)))]
    return "".join(syllables) + rng.choice(CODAS)


def _last_tokens(kind: Kind, rng: random.Random, taken: set[str]) -> list[str]:
    if kind.nouns:
        return rng.sample(kind.nouns, kind.size)
    tokens: list[str] = []
    while len(tokens) < kind.size:
        token = (_stem(rng) + rng.choice(kind.endings)).capitalize()
        if token not in taken:
            taken.add(token)
            tokens.append(token)
    return tokens


def names(kind: Kind, rng: random.Random, taken: set[str]) -> list[str]:
    """Name the members of a kind, a third of them with each number of tokens.

    Args:
        kind: The kind to name.
        rng: Where the choices come from.
        taken: Last tokens already given out; the new ones are added to it.

    Returns:
        The names. Every third one, from the first, has one token; the next has two, the next three.
    """
    heads = (("",), kind.seconds, kind.thirds)
    last_tokens = _last_tokens(kind, rng, taken)
    return [f"{rng.choice(heads[position % 3])} {last}".strip() for position, last in enumerate(last_tokens)]
