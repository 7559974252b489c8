"""The requests of one batch as token rows, each text tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from edit_lit.activations.token_rows import SubjectRow, neighbor_rows, prompt_rows, statement_rows
from edit_lit.editors.targets.options import TargetValues
from edit_lit.facts.request import SUBJECT_SLOT, EditRequest, of_old_object
from edit_lit.utilities.errors import ConfigError


@dataclass(frozen=True)
class TokenizedBatch:
    """Facts that are written together, as token rows.

    Args:
        requests: The facts.
        prompts: Each fact's prompt in each context, the bare prompt first.
        neighbors: The prompts of each fact's neighbors that keep their answers.
        old: The prompts with the old object behind them, if a margin over it is asked for; else none.
        kl_anchors: Each fact's KL anchor prompt.
    """

    requests: list[EditRequest]
    prompts: list[list[SubjectRow]]
    neighbors: list[list[SubjectRow]]
    old: list[list[SubjectRow]]
    kl_anchors: list[SubjectRow]

    @classmethod
    def bare(
        cls, tokenizer: PreTrainedTokenizerBase, requests: list[EditRequest], options: TargetValues
    ) -> TokenizedBatch:
        """Tokenise the requests without contexts, which refuses a bad one before the model is run.

        Args:
            tokenizer: The tokenizer.
            requests: The facts.
            options: What the search for target values asks.

        Raises:
            ConfigError: If a request cannot be tokenised as it must, or lacks what the options ask for; the message
                names it.
        """
        return cls(
            requests,
            prompt_rows(tokenizer, requests, [SUBJECT_SLOT]),
            neighbor_rows(tokenizer, requests, [SUBJECT_SLOT], options.neighbors),
            _old_rows(tokenizer, requests, [SUBJECT_SLOT]) if options.margin is not None else [[] for _ in requests],
            statement_rows(tokenizer, requests, options.kl_anchor_prompt),
        )

    def inside(self, tokenizer: PreTrainedTokenizerBase, contexts: Sequence[str], seed: int) -> TokenizedBatch:
        """The same batch with its prompts in all contexts.

        Args:
            tokenizer: The tokenizer.
            contexts: The contexts, the bare one first, whose rows are there already.
            seed: Seed of the draw of a context for each neighbor.
        """
        if len(contexts) == 1:
            return self
        others = prompt_rows(tokenizer, self.requests, contexts[1:])
        count = len(self.neighbors[0])
        return replace(
            self,
            prompts=[[*bare, *inside] for bare, inside in zip(self.prompts, others, strict=True)],
            neighbors=neighbor_rows(tokenizer, self.requests, contexts, count, seed) if count else self.neighbors,
            old=_old_rows(tokenizer, self.requests, contexts) if self.old[0] else self.old,
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each fact's bare prompt with its longest object."""
        return [
            max(len(rows[0].ids) for rows in (own, old) if rows)
            for own, old in zip(self.prompts, self.old, strict=True)
        ]

    @property
    def scored(self) -> list[list[SubjectRow]]:
        """Each fact's rows whose answers are to become or to stay likely: its prompts, then its neighbors."""
        return [[*own, *near] for own, near in zip(self.prompts, self.neighbors, strict=True)]


def _old_rows(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[EditRequest], contexts: Sequence[str]
) -> list[list[SubjectRow]]:
    """Each request's prompt in each context, followed by the old object.

    Raises:
        ConfigError: If a request has none, or the new one is the same.
    """
    same = next((request for request in requests if request.target_new == request.target_true), None)
    if same is not None:
        raise ConfigError(
            f"target_values.margin asks the new object to lead the old one, but those of {same.name} are the same. "
            "Leave the request or the option out."
        )
    return prompt_rows(tokenizer, [of_old_object(one, "target_values.margin") for one in requests], contexts)
