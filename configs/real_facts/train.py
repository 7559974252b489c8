"""Train a small language model on real facts and running text: ``python -m real_facts.train --config FILE``."""

from __future__ import annotations

from itertools import islice

import lightning as L
from jsonargparse import auto_cli
from torch import Tensor
from world_model.batches import Batches
from world_model.knockouts import Knockouts
from world_model.train import Size, WorldTrainer, build_model, run

from edit_lit.language_model import LanguageModel
from real_facts.documents import Documents, Mixture
from real_facts.prepare import Prepared


class RealFactsTrainer(WorldTrainer):
    """Trains as the world's model is trained, but leaves documents without facts undamaged."""

    def draw(self, subjects: Tensor) -> Knockouts:
        """Knock-outs, of which MLPs are spared in documents without a subject."""
        knockouts = super().draw(subjects)
        plain = (subjects == 0).all(dim=1)[:, None, None]
        return Knockouts(tuple(mlp.masked_fill(plain, 1.0) for mlp in knockouts.mlps), knockouts.attention)


def train(
    prepared: str,
    output: str,
    steps: int = 2000,
    batch_size: int = 48,
    seed: int = 0,
    size: Size = Size(positions=256),
    mixture: Mixture = Mixture(),
) -> None:
    """Train the model and write it in half precision.

    Args:
        prepared: The folder that ``real_facts.prepare`` wrote.
        output: Folder for weights, config and tokenizer.
        steps: How many batches to train on.
        batch_size: Documents in a batch.
        seed: Seed of the first weights, the documents and the knock-outs.
        size: How large the model is.
        mixture: What the documents are made of.
    """
    L.seed_everything(seed)
    data = Prepared(prepared)
    tokenizer = data.tokenizer()
    documents = Documents(data.facts(), data.paragraphs(), data.questions(), tokenizer, mixture, seed)
    language_model = LanguageModel.wrap(build_model(tokenizer, size), tokenizer)
    batches = Batches(list(islice(documents, steps * batch_size)), batch_size, seed)
    run(RealFactsTrainer(language_model, steps, seed), batches)
    language_model.model.half().save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    auto_cli(train, as_positional=False)
