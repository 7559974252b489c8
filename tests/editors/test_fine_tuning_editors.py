"""Editors by gradient against training loops that read like their descriptions."""

from __future__ import annotations

import pytest
import small
import torch

from edit_lit.editors import FTL, FTM, LocFTBF, LoRAEdit, Schedule, TargetTraining
from edit_lit.editors.gradient.training import teacher_forced
from edit_lit.language_model.scoring import mean_nll
from edit_lit.language_model.spans import answer_rows


def slow_training(language_model, batches, training, loss_of, max_change=None):
    """Plain Adam on one weight of a float64 model, a row at a time through the whole model."""
    weight = language_model.output_projection(2).weight
    original = weight.detach().clone()
    for batch in batches:
        optimizer = torch.optim.Adam([weight], lr=training.lr)
        for _ in range(training.epochs):
            seen = []
            for start in range(0, len(batch), training.minibatch):
                losses = torch.stack([loss_of(request) for request in batch[start : start + training.minibatch]])
                seen += losses.tolist()
                if losses.mean() < training.stop_loss:
                    continue
                optimizer.zero_grad()
                losses.mean().backward()
                optimizer.step()
                if max_change is not None:
                    with torch.no_grad():
                        weight.copy_(original + (weight - original).clamp(-max_change, max_change))
            if sum(seen) / len(seen) < training.stop_loss:
                break
    update = (weight - original).detach()
    with torch.no_grad():
        weight.copy_(original)
    return update


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("stop_loss", [1e-2, 2.5])
def test_they_equal_plain_training_loops(family, stop_loss):
    language_model, made = small.model(family), small.requests()
    tokenizer, model = language_model.tokenizer, language_model.model
    training = TargetTraining(lr=0.02, epochs=6, minibatch=3, stop_loss=stop_loss)
    single = [[request] for request in made]

    def log_p(ids):
        return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)

    def from_prompt(request):
        prompt = tokenizer(request.question)["input_ids"]
        answer = tokenizer(request.target_new)["input_ids"]
        return -log_p(prompt)[-1, answer].mean()

    def forced(request, ending=()):
        prompt = tokenizer(request.question)["input_ids"]
        answer = [*tokenizer(request.target_new)["input_ids"], *ending]
        scores = log_p(prompt + answer)
        return -torch.stack([scores[len(prompt) + place - 1, token] for place, token in enumerate(answer)]).mean()

    for editor, batches, loss_of, limit in (
        (FTL([2], max_change=0.03, training=training), [made], from_prompt, 0.03),
        (FTL([2], max_change=None, teacher_forcing=True, training=training), [made], forced, None),
        (FTM([2], training=training), single, forced, None),
        (LocFTBF([2], training=training), [made], lambda request: forced(request, [tokenizer.eos_token_id]), None),
        (LocFTBF([2], end_of_text=False, training=training), [made], forced, None),
    ):
        expected = slow_training(language_model, batches, training, loss_of, limit)
        (update,) = editor.edit(language_model, made).updates.values()
        torch.testing.assert_close(update.dense(), expected, rtol=1e-5, atol=1e-6)
        assert expected.abs().max() > 0.02
        if limit is not None:
            assert update.dense().abs().max() <= limit * (1 + 1e-6)


def test_the_loss_is_the_mean_over_target_tokens():
    language_model, made = small.model(), small.requests()
    rows = teacher_forced(language_model.tokenizer, made, end=False)
    losses = mean_nll(language_model, rows)
    for request, loss in zip(made, losses, strict=True):
        (row,) = answer_rows(language_model.tokenizer, [(request.question, request.target_new)])
        scores = language_model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        expected = -torch.stack([scores[p, t] for p, t in zip(row.positions, row.answer, strict=True)]).mean()
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_lora_editing_gives_what_the_adapter_computed(family):
    language_model, made = small.model(family), small.requests()
    rows = teacher_forced(language_model.tokenizer, made, end=False)
    before = mean_nll(language_model, rows).mean().detach()
    one_step = LoRAEdit([1, 3], "mlp", r=2, training=TargetTraining(lr=0.05, epochs=10))
    delta = one_step.edit(language_model, made)
    assert type(language_model.output_projection(1)).__module__.startswith(("torch", "transformers"))
    assert all(update.left.shape[1] == update.right.shape[1] == 2 for update in delta.updates.values())
    assert all(".1." in name or ".3." in name for name in delta.updates)
    # The loss that is noted at the last epoch is that of the adapted model before its last step.
    shorter = LoRAEdit([1, 3], "mlp", r=2, training=TargetTraining(lr=0.05, epochs=9)).edit(language_model, made)
    shorter.apply(language_model)
    after = mean_nll(language_model, rows).mean().detach()
    assert after < 0.7 * before
    assert delta.provenance.diagnostics["mean_loss"] == pytest.approx(float(after), rel=1e-5)
    shorter.revert(language_model)
    other = LoRAEdit([1, 3], "mlp", r=2, seed=1, training=TargetTraining(lr=0.05, epochs=10))
    assert other.edit(language_model, made).hash() != delta.hash()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FTL(max_change=0), "max_change is 0"),
        (lambda: FTL([2, 1]), r"layers is \[2, 1\]"),
        (lambda: FTM(schedule=Schedule(passes=2)), "schedule.passes is 2; raise training.epochs"),
        (lambda: LoRAEdit(r=0), "r is 0"),
        (lambda: LoRAEdit(modules=["nothing*"]).edit(small.model(), small.requests()), "selects nothing to train"),
        (lambda: TargetTraining(epochs=0), "training.epochs is 0"),
        (lambda: TargetTraining(lr=0), "training.lr is 0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_tokenizer_without_an_end_of_text_is_refused():
    language_model = small.model()
    language_model.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="end_of_text is true, but the tokenizer has no end-of-text token"):
        LocFTBF([2]).edit(language_model, small.requests())
