from __future__ import annotations

import torch
from real_facts.recall import Recall, recall_of

from edit_lit.facts.request import EditRequest
from edit_lit.measures.outcomes import KINDS, Kind, Outcomes


def test_a_fact_is_known_in_all_wordings_only_if_each_is_answered():
    requests = [
        EditRequest(f"S{number}", "{} is in", "Bonn", true, relation=relation)
        for number, (relation, true) in enumerate([("P1", "Rome"), ("P1", "Rome"), ("P1", "Oslo"), ("P2", "Rome")])
    ]
    rows = [  # request, kind, answered
        (0, Kind.REWRITE, 1.0), (0, Kind.PARAPHRASE, 1.0), (0, Kind.PARAPHRASE, 1.0),
        (1, Kind.REWRITE, 1.0), (1, Kind.PARAPHRASE, 0.0), (1, Kind.PARAPHRASE, 1.0),
        (2, Kind.REWRITE, 0.0), (2, Kind.PARAPHRASE, 1.0), (2, Kind.PARAPHRASE, 1.0),
        (3, Kind.REWRITE, 1.0),
    ]  # fmt: skip
    exact = torch.tensor([[answered, 0.0] for *_, answered in rows])
    outcomes = Outcomes(
        request=torch.tensor([request for request, *_ in rows]),
        kind=torch.tensor([KINDS.index(kind) for _, kind, _ in rows]),
        prompt=torch.tensor([0, 0, 1, 0, 0, 1, 0, 0, 1, 0]),
        nll=1 - exact,
        exact=exact,
        token=exact,
        first=exact,
    )
    assert recall_of(requests, outcomes) == [
        Recall("P1", facts=3, by_rewrite=2, by_paraphrases=5 / 6, in_all=1, commonest=2 / 3),
        Recall("P2", facts=1, by_rewrite=1, by_paraphrases=0.0, in_all=1, commonest=1.0),
    ]
