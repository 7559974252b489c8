"""Ten thousand facts in the embedded model: time and peak memory of an edit, by the number of facts.

Run with ``make bench-scale`` or ``python -m tests.benchmarks.scale [--sizes 1000 2000] [--steps 10]``. Every row is a
process of its own, so that its peak is its own.

What the peak is made of, with N = 512 neurons, D = 128 hidden dimensions and 6 prompts for each fact:

- About 120 MB whatever the number of facts: 24 facts whose target values are searched for, with the graph of their
  gradients, and a batch of 8,192 tokens on its way to the keys. 100 facts at a time need nothing beyond that: of the
  facts written before, each layer keeps one N × N matrix of 2 MB.
- For each fact that is written together with others, about 45 kB: hidden states between layers, 28 · 4 D = 15 kB for
  the 28 tokens up to the subject that not all prompts share, up to KeyExtractor's budget of 2 GiB; its mean key, bare
  key and value in float64, 8 (2 N + D) = 9 kB; three copies of key and residual while they are condensed to N columns,
  24 (N + D) = 15 kB; its tokens in lists and tensors, 6 kB. Measured are 65 kB: the allocator keeps some of what was
  let go.

Nothing is as large as facts × facts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import permutations
from types import ModuleType

import torch

from edit_lit.activations import Contexts
from edit_lit.activations.keys import KeyExtractor
from edit_lit.editors import MEMIT, KeyCovariance, MEMITSequential, TargetValues
from edit_lit.editors.base.weight_workspace import WeightWorkspace
from edit_lit.editors.closed_form import editor
from edit_lit.editors.closed_form.accumulated import Accumulated
from edit_lit.editors.closed_form.editor import ClosedFormEditor
from edit_lit.facts.request import EditRequest
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, edit_scores
from edit_lit.world import WorldCorpus, WorldModel
from edit_lit.world.knowledge_base import KnowledgeBase, build_knowledge_base
from edit_lit.world.relations import RELATIONS, Relation
from edit_lit.world.sentences import FILLERS

LAYERS = [1, 2, 3]
PARTS = {
    "target values": [(editor, "find_target_values")],
    "keys": [(KeyExtractor, "__init__"), (KeyExtractor, "advance"), (KeyExtractor, "read")],
    "solves": [(ClosedFormEditor, "solve"), (Accumulated, "accumulate"), (WeightWorkspace, "add")],
}
"""What is timed apart from the whole."""


@dataclass(frozen=True)
class Run:
    """One row of the table.

    Args:
        facts: How many facts are written.
        sequential: Whether they are written 100 at a time, each batch's keys accumulated, or all together.
        steps: Forward passes in the search for a target value, at most.
        cache: Folder of the second moments.
    """

    facts: int
    sequential: bool
    steps: int
    cache: str

    def editor(self) -> MEMIT:
        """MEMIT as the quickstart uses it, with fewer steps."""
        contexts = Contexts(templates=[f"{filler} {{}}" for filler in FILLERS[:5]])
        key_covariance = KeyCovariance(corpus=WorldCorpus(), cache_dir=self.cache)
        values = TargetValues(steps=self.steps, stop_loss=0.15)
        return (MEMITSequential if self.sequential else MEMIT)(LAYERS, 10.0, 2.0, values, contexts, key_covariance)


def made_up(count: int) -> list[EditRequest]:
    """Facts about subjects that the world does not have: pairs of names of one kind, each pair once."""
    knowledge_base, rng = build_knowledge_base(), random.Random(0)
    last = defaultdict(list)
    for subject, kind in knowledge_base.kinds.items():
        last[kind].append(subject.split()[-1])
    subjects = [(kind, f"{one} {other}") for kind, names in last.items() for one, other in permutations(names, 2)]
    relations = defaultdict(list)
    for relation in RELATIONS:
        relations[relation.kind].append(relation)
    chosen = rng.sample(subjects, count)
    return [_fact(knowledge_base, rng.choice(relations[kind]), subject, rng) for kind, subject in chosen]


def _fact(knowledge_base: KnowledgeBase, relation: Relation, subject: str, rng: random.Random) -> EditRequest:
    target = rng.choice(knowledge_base.objects(relation))
    return EditRequest(subject, rng.choice(relation.templates), target, id=f"{subject}: {relation.name}")


@contextmanager
def clock(owner: type | ModuleType, name: str, spent: defaultdict[str, float], part: str) -> Iterator[None]:
    """Time the calls of a method or function."""
    method: Callable[..., object] = getattr(owner, name)

    def timed(*arguments: object, **named: object) -> object:
        started = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            spent[part] += time.perf_counter() - started

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, method)


def peak_mb() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def row(run: Run) -> str:
    """Edit, and describe it as a line of the table; called in a process of its own."""
    language_model, requests = WorldModel(), made_up(run.facts)
    spent: defaultdict[str, float] = defaultdict(float)
    loaded = peak_mb()
    with ExitStack() as stack:
        for part, methods in PARTS.items():
            for owner, name in methods:
                stack.enter_context(clock(owner, name, spent, part))
        started = time.perf_counter()
        delta = run.editor().edit(language_model, requests)
        total = time.perf_counter() - started
    memory = peak_mb() - loaded
    delta.apply(language_model)
    efficacy = edit_scores(Probe(requests, language_model.tokenizer).run(language_model), Rule.EXACT)["efficacy"]
    mode = "100 at a time" if run.sequential else "one batch"
    parts = " | ".join(f"{spent[part]:.1f}" for part in PARTS)
    return (
        f"| {run.facts:,} | {mode} | {total:.1f} | {run.facts / total:.0f} | {parts} | "
        f"{total - sum(spent.values()):.1f} | {memory:.0f} | {efficacy:.1%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time and peak memory of an edit, by the number of facts.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000, 10000])
    parser.add_argument("--steps", type=int, default=10, help="passes in the search for a target value, at most")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, at most {options.steps} steps\n")
    names = ["facts", "mode", "seconds", "facts a second", *PARTS, "the rest", "peak MB over the model", "efficacy"]
    alone = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as cache, alone:
        # Measures the second moments, which every row then finds on disk.
        alone.submit(row, Run(2, False, 2, cache)).result()
        print(f"| {' | '.join(names)} |\n| ---: | --- |{' ---: |' * (len(names) - 2)}")
        for sequential in (False, True):
            for facts in options.sizes:
                print(alone.submit(row, Run(facts, sequential, options.steps, cache)).result(), flush=True)


if __name__ == "__main__":
    main()
