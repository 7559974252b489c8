"""How fast editing, probing and measuring key covariances are, on the embedded model.

Run with ``make bench`` or ``python -m tests.benchmarks.run``. Every time is the median of several runs after one
that is not counted; each ratio is taken within one run, so that a machine whose speed drifts does not bend it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from statistics import median

import lightning as L
import torch
from torch import Tensor

from callbacks import EditRetentionCallback
from edit_lit.activations import Contexts
from edit_lit.activations.shared_prefix import SharedPrefixCache
from edit_lit.activations.token_rows import SubjectRow, prompt_rows, statement_rows
from edit_lit.data_module import EditDataModule
from edit_lit.editors import MEMIT, KeyCovariance, TargetValues
from edit_lit.editors.targets.search import find_target_values
from edit_lit.facts.request import EditRequest
from edit_lit.fine_tuner import FineTuner
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import evaluating, frozen
from edit_lit.language_model.token_batch import TokenBatch, length_batches
from edit_lit.measures.probe import Probe
from edit_lit.world import WorldCorpus, WorldModel
from edit_lit.world.facts import World
from edit_lit.world.sentences import FILLERS
from edit_lit.world.task import WorldReviews
from tests.benchmarks.one_by_one import target_value

LAYERS = [1, 2, 3]
REPEATS = 3
TEMPLATES = ["{}", *(f"{filler} {{}}" for filler in FILLERS[:5])]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def editor(cache: str) -> MEMIT:
    """MEMIT as the quickstart uses it, but for the chosen facts."""
    contexts = Contexts(templates=TEMPLATES)
    key_covariance = KeyCovariance(corpus=WorldCorpus(), cache_dir=cache)
    return MEMIT(LAYERS, 10.0, 2.0, TargetValues(stop_loss=0.15), contexts, key_covariance)


def bench_edit(language_model: LanguageModel, requests: list[EditRequest]) -> None:
    """Seconds a fact for batches of several sizes, and 200 facts together against one at a time."""
    with tempfile.TemporaryDirectory() as cache:
        method = editor(cache)
        method.edit(language_model, requests[:2])
        print("| facts in one edit | seconds a fact |\n| ---: | ---: |")
        for count in (1, 10, 50, 200):
            runs = [seconds(lambda n=count: method.edit(language_model, requests[:n])) for _ in range(REPEATS)]  # type: ignore[misc]
            print(f"| {count} | {median(runs) / count:.4f} |")
        alone = seconds(lambda: [method.edit(language_model, [request]) for request in requests])
        together = seconds(lambda: method.edit(language_model, requests))
        print(
            f"\n{len(requests)} facts, together / one at a time: "
            f"{together:.2f} s / {alone:.2f} s = {together / alone:.3f}\n"
        )


def bench_target_values(language_model: LanguageModel, requests: list[EditRequest]) -> None:
    """Target values of all facts together, against one fact at a time through the whole model."""
    tokenizer, options = language_model.tokenizer, TargetValues(stop_loss=0.15)
    prompts = prompt_rows(tokenizer, requests, TEMPLATES)
    kl_anchors = statement_rows(tokenizer, requests, options.kl_anchor_prompt)

    def together() -> Tensor:
        return find_target_values(options, language_model, LAYERS[-1], prompts, kl_anchors).values

    def alone() -> Tensor:
        values = [
            target_value(options, language_model, LAYERS[-1], *rows) for rows in zip(prompts, kl_anchors, strict=True)
        ]
        return torch.stack(values)

    with frozen(language_model.model):
        found = find_target_values(options, language_model, LAYERS[-1], prompts, kl_anchors)
        apart = float((found.values - alone()).norm() / found.values.norm())
        pairs = [(seconds(together), seconds(alone)) for _ in range(REPEATS)]
    print(
        f"target values of {len(requests)} facts, together / one at a time through the whole model: "
        f"{median(a for a, _ in pairs):.2f} s / {median(b for _, b in pairs):.2f} s, "
        f"{median(b / a for a, b in pairs):.1f} times as fast; they differ by {apart:.1e} of their norm"
    )
    rows = [[*of_fact, kl_anchor_prompt] for of_fact, kl_anchor_prompt in zip(prompts, kl_anchors, strict=True)]
    floor = operations(language_model, rows, found.steps.tolist()) / speed_of_products()
    print(f"matrix products alone, at the speed of large ones: {floor:.2f} s\n")


def operations(language_model: LanguageModel, rows: list[list[SubjectRow]], passes: list[int]) -> float:
    """Floating-point operations in the blocks' matrices that no search for target values can do without.

    Every token runs once through all blocks, the contexts' own aside; then those from the subject on, in every pass,
    forwards and backwards through the blocks above the edited ones.
    """
    matrix = sum(weight.numel() for weight in language_model.blocks[0].parameters() if weight.dim() == 2)
    above = len(language_model.blocks) - 1 - LAYERS[-1]
    starts = SharedPrefixCache(language_model, [row for fact in rows for row in fact], 0).starts
    once = sum(len(row.ids) - start for fact in rows for row, start in zip(fact, starts(fact), strict=True))
    ends = [sum(len(row.ids) - row.subject_last for row in fact) for fact in rows]
    again = sum(number * tokens for number, tokens in zip(passes, ends, strict=True))
    return 2.0 * matrix * (once * len(language_model.blocks) + 2 * again * above)


def speed_of_products(size: int = 1024) -> float:
    """Floating-point operations a second in the product of two large matrices."""
    one, other = torch.randn(2, size, size)
    return 2.0 * size**3 / min(seconds(lambda: one @ other) for _ in range(10))


def bench_probe(language_model: LanguageModel, requests: list[EditRequest]) -> None:
    """A probe against a plain forward pass, logits and all, over the rows that it runs."""
    probe = Probe(requests, language_model.tokenizer)
    probe.run(language_model)
    batches = [batch.rows for batch in probe._batches]

    def plain() -> None:
        with evaluating(language_model.model):
            for rows in batches:
                language_model.model(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)

    plain()
    pairs = [(seconds(lambda: probe.run(language_model)), seconds(plain)) for _ in range(3 * REPEATS)]
    prompts = len(probe._request)
    tokens = sum(int(rows.mask.sum()) for rows in batches)
    print(
        f"probe: {median(a for a, _ in pairs) / prompts * 1000:.3f} s per 1,000 prompts "
        f"({prompts} prompts, {tokens} tokens)"
    )
    print(f"probe / plain forward over the same tokens: {median(a / b for a, b in pairs):.2f}\n")


def bench_moments(language_model: LanguageModel) -> None:
    """Key covariances of all edited layers against one forward pass over the corpus."""
    rows = [language_model.tokenizer(text)["input_ids"] for text in WorldCorpus().documents()]
    tokens = sum(map(len, rows))
    key_covariance = KeyCovariance(corpus=WorldCorpus())
    batches = [TokenBatch.of([rows[index] for index in batch]) for batch in length_batches(list(map(len, rows)), 8192)]

    def plain() -> None:
        with evaluating(language_model.model):
            for batch in batches:
                language_model.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)

    pairs = [
        (seconds(lambda: key_covariance._measure(language_model, rows, LAYERS)), seconds(plain))
        for _ in range(REPEATS + 1)
    ][1:]
    print(f"second moments of {len(LAYERS)} layers: {tokens / median(a for a, _ in pairs):,.0f} tokens a second")
    print(f"second moments / plain forward over the same tokens: {median(a / b for a, b in pairs):.2f}\n")


def bench_training(every: int = 50, steps: int = 100) -> None:
    """Share of training time that probing takes, from the probes' own clock."""

    class Clock(EditRetentionCallback):
        spent = 0.0

        def on_train_batch_end(self, *arguments: object) -> None:
            self.spent += seconds(lambda: super(Clock, self).on_train_batch_end(*arguments))  # type: ignore[arg-type]

    clock = Clock(every_n_steps=every)
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0, default_root_dir=folder, callbacks=[clock],
        )  # fmt: skip
        data = EditDataModule(WorldReviews(), World(limit=50, seed=0), World(limit=150, seed=1))
        total = seconds(lambda: trainer.fit(FineTuner(WorldModel()), datamodule=data))
    print(
        f"probing 50 edits and 150 intrinsic facts every {every} steps: "
        f"{clock.spent / (total - clock.spent):.2%} of training time"
    )


def main() -> None:
    """Print everything."""
    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}\n")
    language_model = WorldModel()
    requests = World(seed=0).load()[:200]
    bench_edit(language_model, requests)
    bench_target_values(language_model, requests)
    bench_probe(language_model, requests[:50])
    bench_moments(language_model)
    bench_training()


if __name__ == "__main__":
    main()
