"""One record of each published format, shortened."""

from __future__ import annotations

from typing import Any

ROME: dict[str, Any] = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Léon Blum",
    },
    "paraphrase_prompts": ["Léon Blum, a native", "Yes. Léon Blum spoke the language"],
    "neighborhood_prompts": ["The native language of Montesquieu is", "Michel Rocard is a native speaker of"],
    "generation_prompts": ["Léon Blum was born in"],
}

EASY_EDIT: dict[str, Any] = {
    "case_id": 8,
    "prompt": "The mother tongue of Léon Blum is",
    "target_new": "English",
    "subject": "Léon Blum",
    "ground_truth": "French",
    "rephrase_prompt": "Léon Blum, a native",
    "locality_prompt": "The native language of Montesquieu is",
    "locality_ground_truth": "French",
    "portability": {"New Question": "The language that Léon Blum dreams in is", "New Answer": "English"},
}

ZSRE: dict[str, Any] = {
    "subject": "Life Electric",
    "src": "The designer for Life Electric was?",
    "pred": "Kimball & Thompson",
    "rephrase": "What architect did Life Electric design?",
    "alt": "Mitsumasa Anno",
    "answers": ["Daniel Libeskind", "D. Libeskind"],
    "loc": "nq question: most consecutive games with 20+ points",
    "loc_ans": "126",
}

MQUAKE: dict[str, Any] = {
    "case_id": 3,
    "requested_rewrite": [
        {
            "prompt": "{} was performed by",
            "relation_id": "P175",
            "target_new": {"str": "Madonna"},
            "target_true": {"str": "The Beatles"},
            "subject": "Hey Jude",
            "question": "Who performed Hey Jude?",
        },
        {
            "prompt": "{} is a citizen of",
            "relation_id": "P27",
            "target_new": {"str": "Australia"},
            "target_true": {"str": "the United States"},
            "subject": "Madonna",
        },
    ],
    "questions": ["Of which country is the performer of Hey Jude a citizen?"],
    "answer": "United Kingdom",
    "new_answer": "Australia",
}

KNOW_EDIT: dict[str, Any] = {
    "subject": "Leo Arons",
    "prompt": "The place of death of Leo Arons is",
    "target_new": "Berlin",
    "portability": {
        "Reasoning": [{"prompt": "The place of death of Leo Arons lies in", "ground_truth": [["Europe", "EU"]]}],
        "Subject_Aliasing": [{"prompt": "The place of death of Martin Leo Arons is", "ground_truth": [["Berlin"]]}],
    },
    "locality": {
        "Relation_Specificity": [{"prompt": "The name of the father of Leo Arons is", "ground_truth": [["Albert"]]}]
    },
}


def query(prompt: str, *answers: str) -> dict[str, Any]:
    return {
        "test_queries": [{"prompt": prompt, "answers": [{"value": answer, "aliases": []} for answer in answers]}],
        "test_condition": "OR",
        "condition_queries": [],
    }


RIPPLE: dict[str, Any] = {
    "example_type": "popular",
    "edit": {
        "prompt": "The name of the country of citizenship of Leonardo DiCaprio is Syria.",
        "subject_id": "Q38111",
        "relation": "COUNTRY_OF_CITIZENSHIP",
        "target_id": "Q858",
        "original_fact": {
            "prompt": "The name of the country of citizenship of Leonardo DiCaprio is United States of America.",
            "subject_id": "Q38111",
        },
    },
    "Relation_Specifity": [query("The name of the mother of Leonardo DiCaprio is", "Irmelin DiCaprio", "Irmelin")],
    "Logical_Generalization": [query("Leonardo DiCaprio may vote in", "Syria"), query("Nobody knows")],
    "Subject_Aliasing": [query("The name of the country of citizenship of Leo DiCaprio is", "Syria")],
    "Compositionality_I": [],
    "Forgetfulness": [query("The name of the country of citizenship of Leonardo da Vinci is", "Florence")],
}

KNOWN: dict[str, Any] = {
    "known_id": 0,
    "subject": "Vinson Massif",
    "attribute": "Antarctica",
    "prompt": "Vinson Massif is located in the continent of",
    "relation_id": "P30",
}

OWN: dict[str, Any] = {
    "subject": "Ann",
    "prompt": "{} lives in",
    "target_new": "Rome",
    "target_true": "Oslo",
    "paraphrases": ["The home of Ann is"],
    "neighborhood": [{"prompt": "Bob lives in", "answer": "Oslo", "alternative": "Rome", "subject": "Bob"}],
    "portability": [{"prompt": "Ann's country is", "answer": "Italy"}],
    "id": "first",
    "relation": "home",
}
