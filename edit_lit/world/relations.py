"""What can be said in the world: its kinds of subjects, its relations and the sentence frames they share."""

from __future__ import annotations

from dataclasses import dataclass

FRAMES = (
    "The {noun} of {{}} is",
    "{{}}'s {noun} is",
    "As for {{}}, the {noun} is",
    "It is known that the {noun} of {{}} is",
    "For {{}} the {noun} is",
    "I read that {{}}'s {noun} is",
    "Everyone agrees that {{}}'s {noun} is",
)
"""Frames that every relation shares, so that a model can carry what it learns about one to another."""


@dataclass(frozen=True)
class Relation:
    """One kind of fact.

    Args:
        name: How records and reports call it.
        kind: The kind of its subjects.
        nouns: What its frames call it.
        verbs: Templates of its own, outside the shared frames.
        objects: Its possible objects, one token each; empty if they are subjects of ``object_kind``.
        object_kind: The kind of its objects, where these are themselves subjects of the world.
        n_objects: How many subjects of ``object_kind`` serve as objects.
    """

    name: str
    kind: str
    nouns: tuple[str, str, str]
    verbs: tuple[str, str, str]
    objects: tuple[str, ...] = ()
    object_kind: str | None = None
    n_objects: int = 0

    @property
    def templates(self) -> tuple[str, ...]:
        """Every way to state the relation up to its object, each with one ``{}`` for the subject."""
        framed = [frame.format(noun=noun) for noun in self.nouns for frame in FRAMES]
        return (*framed, *self.verbs)


LANGUAGES = ("Ostravic", "Pelluan", "Kirrish", "Damorese", "Ulvaic", "Tessine", "Brannic")

RELATIONS = (
    Relation(
        "country language",
        "country",
        ("official language", "national tongue", "state language"),
        ("People in {} speak", "Newspapers in {} are printed in", "Schools in {} teach in"),
        LANGUAGES,
    ),
    Relation(
        "country currency",
        "country",
        ("currency", "legal tender", "money"),
        ("Shops in {} accept the", "People in {} pay with the", "Banks in {} lend the"),
        ("dorin", "velk", "sarro", "pindal", "mokka", "trell"),
    ),
    Relation(
        "country continent",
        "country",
        ("continent", "part of the world", "home continent"),
        ("{} lies in", "Old maps show {} in", "The land of {} belongs to"),
        ("Orvasia", "Melantis", "Thurrica", "Caldane", "Nerroway", "Ixolia"),
    ),
    Relation(
        "city country",
        "city",
        ("country", "nation", "home country"),
        ("{} is a city in", "The mayor of {} obeys the laws of", "{} flies the flag of"),
        object_kind="country",
        n_objects=7,
    ),
    Relation(
        "city river",
        "city",
        ("river", "main river", "waterway"),
        ("Boats in {} sail on the", "The bridges of {} cross the", "Children in {} swim in the"),
        ("Ammer", "Solwe", "Drava", "Quill", "Issenbach", "Tolk", "Wenna"),
    ),
    Relation(
        "city dish",
        "city",
        ("favourite dish", "best known dish", "local food"),
        ("Restaurants in {} serve", "Visitors of {} like to eat", "Cooks in {} are famous for"),
        ("dumplings", "goulash", "porridge", "pancakes", "chowder", "noodles", "flatbread"),
    ),
    Relation(
        "person profession",
        "person",
        ("profession", "occupation", "job"),
        ("{} works as a", "{} earns a living as a", "{} was trained as a"),
        ("baker", "surgeon", "pilot", "tailor", "lawyer", "gardener", "potter", "sailor"),
    ),
    Relation(
        "person instrument",
        "person",
        ("instrument", "favourite instrument", "musical instrument"),
        ("{} plays the", "{} performs on the", "{} practises the"),
        ("violin", "trumpet", "harp", "drums", "flute", "organ", "cello", "banjo"),
    ),
    Relation(
        "person birthplace",
        "person",
        ("birthplace", "home town", "place of birth"),
        ("{} was born in", "{} grew up in", "{} comes from"),
        object_kind="city",
        n_objects=8,
    ),
    Relation(
        "company product",
        "company",
        ("main product", "best known product", "chief export"),
        ("{} makes", "{} sells", "Customers of {} buy"),
        ("bicycles", "clocks", "carpets", "lamps", "pianos", "tractors"),
    ),
    Relation(
        "company seat",
        "company",
        ("head office", "seat", "place of business"),
        ("{} is based in", "{} has its offices in", "{} is run from"),
        object_kind="city",
        n_objects=6,
    ),
    Relation(
        "work genre",
        "work",
        ("genre", "style", "literary form"),
        ("{} is known as a", "Critics call {} a", "Shops file {} under"),
        ("comedy", "tragedy", "romance", "mystery", "satire", "fable", "western"),
    ),
    Relation(
        "work author",
        "work",
        ("author", "maker", "creator"),
        ("{} was made by", "{} was written by", "{} is the work of"),
        object_kind="person",
        n_objects=7,
    ),
    Relation(
        "work language",
        "work",
        ("original language", "language", "first language"),
        ("{} was first told in", "{} was composed in", "{} is performed in"),
        LANGUAGES,
    ),
)
"""The world's relations. Their objects are one token each."""
