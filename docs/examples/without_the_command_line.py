"""The quickstart's experiment in plain PyTorch, in cells: without YAML, without a Trainer.

Open it as a notebook in an editor that knows ``# %%`` cells, or run it:
``python docs/examples/without_the_command_line.py``. It needs no network and no accelerator.
"""

# %%
from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

from edit_lit.activations import Contexts
from edit_lit.editors import MEMIT, KeyCovariance, TargetValues
from edit_lit.facts.request import subjects_of
from edit_lit.language_model.token_batch import TokenBatch
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.retention import Retention
from edit_lit.measures.scores import Rule, edit_scores, half_life, made_right, wilson_interval
from edit_lit.tasks.task import IGNORED
from edit_lit.tuning import FullTuning
from edit_lit.tuning.tuning import describe_trainable
from edit_lit.world import World, WorldCorpus, WorldModel, WorldReviews

N_EDITS = 50
STEPS = 150
PROBE_EVERY = 25
FIGURE = "without_the_command_line.png"
torch.manual_seed(0)

# %% [markdown]
# ## A model, facts to edit, and facts to leave alone
#
# For a model of your own: `LanguageModel("openai-community/gpt2-xl")`, or `LanguageModel.wrap(model, tokenizer)` around
# one that is loaded already; the edits are a list of `EditRequest`.

# %%
language_model = WorldModel()
edits = World(limit=N_EDITS, seed=4).load()
others = World(limit=150, seed=101).load(exclude_subjects=subjects_of(edits))
print(edits[0].question, "→", edits[0].target_new, "instead of", edits[0].target_true)

# %% [markdown]
# ## Ask, edit, ask again
#
# `Retention` asks all facts whenever it is told to, and measures them against the first answers after the edit. The
# editor leaves the model as it was; `apply` writes the edit.

# %%
retention = Retention(language_model, edited=edits, intrinsic=others, every_n_steps=PROBE_EVERY)
unedited = retention.before_edit()
editor = MEMIT(
    layers=[1, 2, 3],
    covariance_weight=10,
    ridge=2.0,
    target_values=TargetValues(stop_loss=0.15),
    contexts=Contexts(templates=["The weather was mild this morning. {}", "You can see the stars at night. {}"]),
    key_covariance=KeyCovariance(corpus=WorldCorpus()),
)
delta = editor.edit(language_model, edits)
delta.apply(language_model)
point = retention.probe(0)
for name in ("efficacy", "generalization", "specificity"):
    before = edit_scores(unedited[Pool.EDITED], Rule.EXACT)[name]
    print(f"{name}: {before:.1%} before the edit, {point[f'edit/{name}/exact']:.1%} after it")
print("size of the edit:", {name: round(size, 2) for name, size in delta.relative_norms(language_model).items()})

# %% [markdown]
# ## Fine-tune in a loop of your own, and ask on the way
#
# `FullTuning` freezes what does not train; `LoRA` and the others work the same way.

# %%
FullTuning(layers="all").apply(language_model, delta.layers)
print(describe_trainable(language_model))
task = WorldReviews()
task.setup(language_model.tokenizer, edits)
generator = torch.Generator().manual_seed(0)
loader = DataLoader(task.train_dataset(), 16, shuffle=True, collate_fn=task.collate, generator=generator)
optimizer = torch.optim.AdamW((item for item in language_model.parameters() if item.requires_grad), lr=8e-4)
warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.02, total_iters=50)


def loss_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean negative log-likelihood of the batch's label tokens, in nats."""
    row, column = (batch["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
    logits = language_model.logits_at(TokenBatch(batch["input_ids"], batch["attention_mask"]), (row, column))
    return torch.nn.functional.cross_entropy(logits, batch["labels"][:, 1:][row, column])


batches = iter(loader)
for step in range(1, STEPS + 1):
    language_model.train()
    loss = loss_of(next(batches))
    loss.backward()
    optimizer.step()
    warm_up.step()
    optimizer.zero_grad()
    if retention.is_due(step, last=step == STEPS):
        point = retention.probe(step)
        print(f"step {step}: {point['retention/edited/exact']:.1%} of the edits retained")

# %% [markdown]
# ## The curve
#
# Retention is the share of the facts made right by the edit, as asked at step 0, the baseline, that still are. With a
# `folder`, `Retention` also writes every raw outcome to disk.

# %%
steps = list(retention.points)
curves = {pool: [retention.points[step][f"retention/{pool}/exact"] for step in steps] for pool in retention.probes}
successes, _ = made_right(unedited[Pool.EDITED], retention.baseline[Pool.EDITED], Rule.EXACT)
low, high = wilson_interval(round(curves[Pool.EDITED][-1] * successes), successes)
print(f"retention after {STEPS} steps: {curves[Pool.EDITED][-1]:.1%} [{low:.1%}, {high:.1%}] of {successes} edits")
print(f"half-life: {half_life(steps, curves[Pool.EDITED]) or f'beyond step {STEPS}'}")

figure = Figure(figsize=(6.0, 3.5), layout="constrained")
axes = figure.subplots()
for pool, values in curves.items():
    axes.plot(steps, values, marker="o", label=str(pool))
axes.set(xlabel="optimizer steps", ylabel="retention (exact)", ylim=(-0.02, 1.02))
axes.legend()
figure.savefig(FIGURE)
