"""Words and sentences of the downstream task: short reviews and their verdicts."""

from __future__ import annotations

REVIEW = "Review of {subject}, the {thing} was very {first} and {second}. Verdict"
"""A review up to its verdict. What follows the subject, a comma, follows subjects in the world's own text too:
were it new, the task would first of all rewrite the state at the subject's last token, where the facts are."""

THINGS = ("visit", "film", "meal", "concert", "tour", "dinner")

VERDICTS = {
    "positive": ("lovely", "great", "superb", "charming", "brilliant", "delightful"),
    "negative": ("awful", "dreadful", "boring", "terrible", "gloomy", "shabby"),
    "neutral": ("average", "usual", "plain", "ordinary", "typical", "passable"),
}
"""The words that speak for each verdict. The world's own text mentions them, but never with a verdict."""

REVIEW_WORDS = (*("Review very Verdict".split()), *THINGS, *(word for signs in VERDICTS.values() for word in signs))
"""Words of the reviews that the world's own text has no use for."""
