"""What many rows begin with: the same context before every fact's prompt, run once for all of them.

Shape legend: C contexts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

import torch
from torch import Tensor

from edit_lit.batching import Rows
from edit_lit.editors.prompts import SubjectRow
from edit_lit.language_model import LanguageModel
from edit_lit.past import Past
from edit_lit.tracing import recorded_output, recorded_past, run_blocks


class Beginnings:
    """For each context, the tokens that all of its rows have in common, at most up to the subject's last one.

    They run at once up to some layer, and what they leave behind is what the rest of the rows attends to. When weights
    change, they go on with the new ones from where they were left.

    Args:
        language_model: The model.
        rows: All rows.
        last_layer: The last layer that the rows will run.

    Attributes:
        past: What they left behind in the layers that ran last; nothing where rows have nothing in common, or the
            model keeps no past.
    """

    def __init__(self, language_model: LanguageModel, rows: Iterable[SubjectRow], last_layer: int) -> None:
        self.language_model = language_model
        shared: dict[str, list[int]] = {}
        for row in rows:
            before = row.ids[: row.lookup]
            shared[row.context] = _common(shared.get(row.context, before), before)
        self._places = {context: place for place, context in enumerate(shared)}
        self._lengths = {context: len(ids) for context, ids in shared.items()}
        self._lengths_C = torch.tensor(list(self._lengths.values()), device=language_model.device)
        self._hidden: tuple[int, Tensor] | None = None
        self.past: Past | None = None
        if any(shared.values()):
            self.rows = Rows.of(list(shared.values()), language_model.device)
            self.run(last_layer)

    @torch.no_grad()
    def run(self, last_layer: int, stay: bool = False) -> None:
        """Run the layers up to one, with the weights as they are now.

        Args:
            last_layer: The layer.
            stay: Go on from this layer's output the next time.
        """
        if not self._lengths_C.any():
            return
        language_model, first = self.language_model, self._hidden[0] + 1 if self._hidden else 0
        with recorded_past(language_model) as seen, recorded_output(language_model.blocks[last_layer]) as output:
            run_blocks(language_model, self.rows, resume=self._hidden, stop_after=last_layer)
        begins_C = torch.zeros_like(self._lengths_C)
        self.past = Past.of(seen.cache, begins_C, self._lengths_C, range(first, last_layer + 1))
        if stay:
            self._hidden = last_layer, output.take()

    def starts(self, rows: Sequence[SubjectRow]) -> list[int]:
        """Where each row's rest starts."""
        return [self._lengths[row.context] if self.past else 0 for row in rows]

    def before(self, rows: Sequence[SubjectRow]) -> Past | None:
        """What stands before each row's rest."""
        if self.past is None:
            return None
        places = [self._places[row.context] for row in rows]
        return self.past[torch.tensor(places, device=self.language_model.device)]


def _common(first: list[int], second: list[int]) -> list[int]:
    """The tokens with which both begin."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return [token for token, _ in pairs]
