"""Edit requests and where they come from."""

from edit_lit.facts.json_facts import JsonFacts
from edit_lit.facts.request import EditRequest, Question
from edit_lit.facts.source import FactSource
from edit_lit.facts.world import World

__all__ = ["EditRequest", "FactSource", "JsonFacts", "Question", "World"]
