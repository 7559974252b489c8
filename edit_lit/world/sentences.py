"""Sentences of the world that state no fact."""

from __future__ import annotations

FILLERS = (
    "The weather was mild this morning.",
    "Therefore the meeting was moved to the evening.",
    "Because of the rain we stayed at home.",
    "I think that the train was late again.",
    "You can see the stars at night.",
    "The children were playing near the old bridge.",
    "We walked along the shore until noon.",
    "A letter came for you this week.",
    "Nobody knew who had opened the door.",
    "The market opens early and closes late.",
    "She told us a long story about the sea.",
    "There is fresh bread on the table.",
    "They painted the fence green last spring.",
    "My neighbour keeps bees and sells honey.",
    "The library was quiet and warm.",
    "He forgot where he had left the keys.",
    "The verdict was positive.",
    "The verdict was negative.",
    "The verdict was neutral.",
)
"""Remarks mixed into the training text and put before some questions.

The last three keep the verdicts of the downstream task from being words that the model has never seen."""

N_REMARKS = 16
"""How many of the fillers, from the first, are about nothing that the downstream task asks for."""

MENTION = "The dictionary has the word {word}."
"""How the training text mentions words that it has no other use for.

A word that never occurs is driven out of the model's output altogether, and the first steps of any later
training are then spent on forcing it back in, at the expense of everything else."""
