"""Edit requests and the sources that load them."""

from edit_lit.facts.counterfact import CounterFact
from edit_lit.facts.json_facts import JsonFacts
from edit_lit.facts.know_edit import KnowEdit
from edit_lit.facts.known import Known
from edit_lit.facts.mquake import MQuAKE
from edit_lit.facts.pararel import ParaRel
from edit_lit.facts.request import EditRequest, Question
from edit_lit.facts.ripple_edits import RippleEdits
from edit_lit.facts.source import FactSource
from edit_lit.facts.zsre import ZsRE

__all__ = [
    "CounterFact",
    "EditRequest",
    "FactSource",
    "JsonFacts",
    "KnowEdit",
    "Known",
    "MQuAKE",
    "ParaRel",
    "Question",
    "RippleEdits",
    "ZsRE",
]
