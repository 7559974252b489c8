"""Train the world's language model from scratch: ``python -m world_model.train --output DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model import LanguageModel
from edit_lit.world.knowledge_base import build_knowledge_base
from edit_lit.world.tokenizer import build_tokenizer
from world_model.batches import Batches, world_text
from world_model.knockouts import Knockouts, draw_knockouts, knocked_out
from world_model.muon import Muon

N_STEPS = 1600
BATCH_SIZE = 32
EMBEDDING_STD = 0.3


class WorldTrainer(FineTuner):
    """Trains the world's model so that its facts are kept where editors look for them.

    Args:
        language_model: A model with fresh weights.
        n_steps: Length of the training, for the learning rate's schedule.
        seed: Seed of the knock-outs.
    """

    def __init__(self, language_model: LanguageModel, n_steps: int, seed: int) -> None:
        super().__init__(language_model)
        self.n_steps = n_steps
        self.generator = torch.Generator().manual_seed(seed)

    def configure_model(self) -> None:
        """Train everything but the input embedding.

        A frozen random embedding tells subjects apart and nothing more, so that the facts about them have
        to be learnt by the blocks.
        """
        super().configure_model()
        self.language_model.model.get_input_embeddings().requires_grad_(False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon on the blocks' matrices, Adam on the head and the norms."""
        blocks = [parameter for block in self.language_model.blocks for parameter in block.parameters()]
        matrices = [parameter for parameter in blocks if parameter.ndim == 2]
        inside = {id(parameter) for parameter in matrices}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        optimizer = Muon(matrices, others)
        schedule = LambdaLR(optimizer, lambda step: learning_rate(step, self.n_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss, _ = self.loss(batch)
        self.log("downstream/train_loss", loss.detach(), prog_bar=True)
        return loss

    def draw(self, subjects: Tensor) -> Knockouts:
        """Fresh knock-outs for a batch, of which ``subjects`` says what stands where [batch, length]."""
        return draw_knockouts(subjects, len(self.language_model.blocks), self.generator)

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weighted mean of the tokens' losses under fresh knock-outs."""
        blocks = self.language_model.blocks
        with knocked_out(blocks, self.draw(batch["subjects"])):
            logits = self.language_model.model(input_ids=batch["input_ids"], use_cache=False).logits
        nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten(), reduction="none")
        weights = batch["weights"][:, 1:].flatten()
        return (nll * weights).sum() / weights.sum(), torch.empty(0)


def learning_rate(step: int, n_steps: int, n_warm_up: int = 60, flat: float = 0.4, last: float = 0.03) -> float:
    """The share of the full learning rate at a step: a linear rise, a plateau, a linear fall.

    Args:
        step: Steps taken.
        n_steps: Length of the training.
        n_warm_up: Length of the rise.
        flat: Share of the training after which the fall begins.
        last: The share of the learning rate at the end.
    """
    progress = step / n_steps
    fall = 1.0 if progress < flat else 1 - (1 - last) * (progress - flat) / (1 - flat)
    return min(fall, (step + 1) / n_warm_up)


@dataclass(frozen=True)
class Size:
    """How large a model is; it has six blocks, as the knock-outs of training are made for.

    Args:
        hidden: Width of the residual stream.
        intermediate: Width of the MLPs.
        heads: Attention heads.
        positions: Longest text, in tokens.
    """

    hidden: int = 128
    intermediate: int = 512
    heads: int = 4
    positions: int = 128


def build_model(tokenizer: PreTrainedTokenizerBase, size: Size = Size()) -> LlamaForCausalLM:
    """A model with fresh weights, drawn from torch's global generator.

    Args:
        tokenizer: Its tokenizer.
        size: How large it is.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=6,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.positions,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    torch.nn.init.normal_(model.get_input_embeddings().get_parameter("weight"), std=EMBEDDING_STD)
    return model


def train(output: Path, n_steps: int = N_STEPS, seed: int = 0) -> LanguageModel:
    """Train the model and write it in half precision.

    Args:
        output: The folder for weights, config and tokenizer.
        n_steps: How many batches to train on.
        seed: Seed of the first weights, the documents and the knock-outs.
    """
    L.seed_everything(seed)
    knowledge_base = build_knowledge_base()
    tokenizer = build_tokenizer(knowledge_base)
    language_model = LanguageModel.wrap(build_model(tokenizer), tokenizer)
    text = world_text(knowledge_base, tokenizer, n_steps, BATCH_SIZE, seed)
    run(WorldTrainer(language_model, n_steps, seed), text)
    language_model.model.half().save_pretrained(output)
    tokenizer.save_pretrained(output)
    return language_model


def run(module: WorldTrainer, text: Batches) -> None:
    """Train on every batch once.

    Args:
        module: What is trained.
        text: The batches.
    """
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(text, batch_size=None))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for weights, config and tokenizer")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="how many batches to train on")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, documents and knock-outs")
    arguments = parser.parse_args()
    train(arguments.output, arguments.steps, arguments.seed)


if __name__ == "__main__":
    main()
