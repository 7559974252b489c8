"""What guards cost: time in each optimizer step, time once, and memory.

Run with ``make bench-guards`` or ``python -m tests.benchmarks.guards [--facts 50] [--steps 20]``. Fifty facts are
edited in the embedded model, and in a random one of 34 million parameters, which are then fine-tuned on reviews. What a
guard does in a step is timed apart from the step's own forward pass, backward pass and update, within the same step, so
that a machine whose speed drifts does not bend their ratio. The same batch is trained on again and again.

The floors, with T tokens in the task's batch and t in the guard's:

- ``Hold`` and ``PathNullSpace``: of a matrix with N inputs and O outputs, four products of 2 O N R operations for R
  kept directions, whatever the batch. A step of training takes 6 O N T, so their share is 4 R / 3 T. They keep
  (N + O) R numbers.
- ``Replay``, ``HiddenStateAnchor`` and ``AGEM``: forward and backward pass of a few prompts, a share of t / T; and
  while they act one gradient more, as many numbers as weights train.
- ``L2SP`` and ``EWC``: read two numbers, or three, and write one for each weight that trains, less than AdamW does.
  They keep one, or two.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from edit_lit.activations import Contexts
from edit_lit.deltas import Delta
from edit_lit.editors import MEMIT, KeyCovariance, TargetValues
from edit_lit.facts.request import EditRequest
from edit_lit.guards import AGEM, EWC, L2SP, Guard, HiddenStateAnchor, Hold, PathNullSpace, Replay
from edit_lit.language_model import LanguageModel
from edit_lit.tuning import FullTuning
from edit_lit.world import World, WorldCorpus, WorldModel, WorldReviews
from tests.benchmarks.run import LAYERS, seconds

GUARDS: Mapping[str, Callable[[], Guard]] = {
    "Hold": Hold,
    "PathNullSpace": PathNullSpace,
    "Replay": Replay,
    "HiddenStateAnchor": HiddenStateAnchor,
    "AGEM": AGEM,
    "L2SP": L2SP,
    "EWC": EWC,
}


def larger() -> LanguageModel:
    """A random model of 33 million parameters with the embedded model's tokens."""
    tokenizer = WorldModel().tokenizer
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LanguageModel.wrap(LlamaForCausalLM(config), tokenizer)


def quick_edit(language_model: LanguageModel, requests: Sequence[EditRequest]) -> Delta:
    """An edit that is made soon, whatever it is worth; what a guard costs does not hang on that."""
    contexts = Contexts(templates=["{}"])
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as cache:
        warnings.simplefilter("ignore")
        key_covariance = KeyCovariance(corpus=WorldCorpus(), cache_dir=cache)
        return MEMIT(LAYERS, 10.0, 2.0, TargetValues(steps=2), contexts, key_covariance).edit(language_model, requests)


def lines(language_model: LanguageModel, facts: int, steps: int) -> Iterator[str]:
    """The table's lines of one model."""
    requests = World(limit=facts, seed=4).load()
    delta = quick_edit(language_model, requests)
    delta.apply(language_model)
    FullTuning().apply(language_model, delta.layers)
    start = {name: value.clone() for name, value in language_model.model.state_dict().items()}
    batch = reviews(language_model, requests)
    for name, make in GUARDS.items():
        language_model.model.load_state_dict(start)
        yield f"| {name} | {' | '.join(cost(language_model, delta, requests, make(), batch, steps))} |"


def reviews(language_model: LanguageModel, requests: Sequence[EditRequest], size: int = 16) -> dict[str, Tensor]:
    """A batch of the task."""
    task = WorldReviews()
    task.setup(language_model.tokenizer, requests)
    examples = task.train_dataset()
    return dict(task.collate([examples[number] for number in range(size)]))


def cost(
    language_model: LanguageModel,
    delta: Delta,
    requests: Sequence[EditRequest],
    guard: Guard,
    batch: Mapping[str, Tensor],
    steps: int,
) -> list[str]:
    """Seconds of the setup, milliseconds of a step's own work and of the guard's, their ratio, and what it keeps."""
    model = language_model.model
    once = seconds(lambda: guard.setup(language_model, delta, requests))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    own, guarding = [], []
    for step in range(steps + 2):
        started = time.perf_counter()
        optimizer.zero_grad()
        model(**batch).loss.backward()
        computed = time.perf_counter()
        guard.step = step
        guard.before_step()
        changed = time.perf_counter()
        optimizer.step()
        stepped = time.perf_counter()
        guard.after_step()
        ended = time.perf_counter()
        own.append(computed - started + stepped - changed)
        guarding.append(changed - computed + ended - stepped)
    ratio = median(extra / plain for extra, plain in zip(guarding[2:], own[2:], strict=True))
    size = kept_bytes(guard, model) / sum(one.nbytes for one in trained)
    step_ms, guard_ms = median(own[2:]) * 1e3, median(guarding[2:]) * 1e3
    return [f"{once:.2f}", f"{step_ms:.1f}", f"{guard_ms:.1f}", f"{ratio:.0%}", f"{size:.0%}"]


def kept_bytes(guard: Guard, model: nn.Module) -> int:
    """Bytes of the tensors that a guard refers to, itself or through others, and the model does not have."""
    models = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: set[int] = set()
    found: dict[int, int] = {}
    waiting: list[Any] = [guard]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, (type, ModuleType, nn.Module, LanguageModel)):
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(thing, FunctionType):
            waiting += thing.__closure__ or ()
        elif isinstance(thing, (Mapping, list, tuple, set, CellType, MethodType)) or hasattr(thing, "__dict__"):
            waiting += gc.get_referents(thing)
    return sum(size for place, size in found.items() if place not in models)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Time and memory of guards.")
    parser.add_argument("--facts", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, {options.facts} facts\n")
    names = ["guard", "once, s", "step, ms", "guard's part, ms", "of the step", "kept, of what trains"]
    for make in (WorldModel, larger):
        language_model = make()
        size = sum(parameter.numel() for parameter in language_model.model.parameters())
        print(f"{size / 1e6:.1f} million parameters\n\n| {' | '.join(names)} |\n| --- |{' ---: |' * (len(names) - 1)}")
        for line in lines(language_model, options.facts, options.steps):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
