"""Edits that are gone or hidden by construction, and every test against a plain loop over copies of the model."""

from __future__ import annotations

import copy
from dataclasses import replace

import damage
import peft
import pytest
import tiny
import torch

from edit_lit.deltas import Delta, Dense, ModelStates, Provenance, WeightPart
from edit_lit.language_model.hooks import recorded_output
from edit_lit.language_model.module_tree import plain_parameters
from edit_lit.language_model.scoring import ScoredRow, mean_nll
from edit_lit.language_model.spans import answer_rows
from edit_lit.measures.outcomes import Kind
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, success
from edit_lit.recoverability import (
    Battery,
    Finding,
    LostEdits,
    Verdict,
    erased_side,
    lost_edits,
    lost_since,
    trained_control,
    unedited_control,
)
from edit_lit.recoverability.asking import middle_layers, other_wordings, target_ranks
from edit_lit.recoverability.file import FILE, read_recoverability, write_recoverability
from edit_lit.recoverability.put_back import ALPHAS, PutBack
from edit_lit.recoverability.relearning import Relearning
from edit_lit.recoverability.result import Evidence, LostEdit
from edit_lit.recoverability.sides import Side
from edit_lit.recoverability.table import edit_rows, markdown, notes, verdict_rows
from edit_lit.tuning import DoRA, FullTuning, LoRA, PeftTuning
from edit_lit.tuning.merging import of_adapters
from edit_lit.utilities.errors import ConfigError

REQUESTS = [
    replace(request, neighborhood=(), portability=(), relation="side", target_new=target)
    for request, target in zip(tiny.requests(6), ("south", "north", "west", "east", "deep", "south"), strict=True)
]
IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def delta():
    """An edit that takes in full, found by training two matrices on the targets."""
    model, twin = tiny.llama(), tiny.llama()
    rows = answer_rows(twin.tokenizer, [(request.question, request.target_new) for request in REQUESTS])
    matrices = [twin.output_projection(layer).weight for layer in (1, 2)]
    optimizer = torch.optim.Adam(matrices, lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        mean_nll(twin, [ScoredRow.teacher_forced(row.ids, row.answer) for row in rows]).mean().backward()
        optimizer.step()
    before = [model.output_projection(layer).weight for layer in (1, 2)]
    updates = {model.parameter_name(b): Dense((a - b).detach()) for b, a in zip(before, matrices, strict=True)}
    return Delta([WeightPart(updates)], Provenance("Editor", {}, "m", "t", "r", (1, 2)))


class Run:
    """A model after its edit, with copies of what it was before."""

    def __init__(self, delta, tuning=None):
        self.model, self.delta = tiny.llama(), copy.deepcopy(delta)
        self.base = copy.deepcopy(self.model)
        self.delta.apply(self.model)
        self.edited = copy.deepcopy(self.model)
        (tuning or FullTuning()).apply(self.model, [1, 2])
        self.states = ModelStates(self.model, self.delta)

    def lost(self):
        before, edited, now = (Probe(REQUESTS, m.tokenizer).run(m) for m in (self.base, self.edited, self.model))
        return lost_edits(before, edited, now, Rule.EXACT)

    def trainable(self):
        return {name: p for name, p in self.model.model.named_parameters() if p.requires_grad}

    def train(self, steps=3, lr=0.02):
        optimizer = torch.optim.Adam(self.trainable().values(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            self.model.model(input_ids=IDS, labels=IDS).loss.backward()
            optimizer.step()


@torch.no_grad()
def planted(head, requests, tokenizer):
    """The head with the rows of all new targets made short, so that no target is the likeliest token."""
    rows = answer_rows(tokenizer, [(request.question, request.target_new) for request in requests])
    weight = head.weight.clone()
    weight[sorted({token for row in rows for token in row.answer})] *= 0.3
    return weight


def test_an_edit_that_was_taken_back_exactly_is_gone(delta):
    run = Run(delta)
    with torch.no_grad():
        for name, parameter in run.model.model.named_parameters():
            parameter.copy_(dict(run.base.model.named_parameters())[name])
    edits = run.lost()
    count = len(edits.lost)
    assert count >= 5
    result = Battery(relearning=Relearning(steps=2, folds=2)).run(run.states, REQUESTS, edits, 7)
    for edit in result.edits:
        assert {finding.evidence for finding in edit.findings} == set(Evidence)
        assert all(finding.value == finding.control for finding in edit.findings)
    assert result.counts() == {
        Verdict.ALIVE: (0, 0),
        Verdict.CONCEALED: (0, 0),
        Verdict.ERODED: (0, 0),
        Verdict.GONE: (count, count),
    }
    # Between the edited model and either of them the edit is of course there: that is why there is a control.
    assert all(finding.found and finding.control_found for finding in result.findings(Evidence.PUT_BACK))


def test_an_edit_that_the_head_was_planted_over_is_hidden(delta):
    run = Run(delta)
    head = planted(run.model.head, REQUESTS, run.model.tokenizer)
    base = dict(run.base.model.named_parameters())
    without = {parameter: base[name].detach() for name, parameter in run.trainable().items()}
    without[run.model.head.weight] = head
    with torch.no_grad():
        run.model.head.weight.copy_(head)
    edits = run.lost()
    assert len(edits.lost) >= 5
    control = trained_control(run.states, without, "the same head over the unedited model")
    battery = Battery(most_rank=3, relearning=Relearning(steps=2, folds=2))
    result = battery.run(run.states, REQUESTS, edits, 7, control)
    assert result.counts()[Verdict.CONCEALED] == (len(edits.lost), 0)
    assert result.control == "the same head over the unedited model"
    put_back = result.findings(Evidence.PUT_BACK)
    assert all(finding.value > finding.control for finding in put_back)


def erased_to(run, weights):
    """The erased side of a run, with the weights of a plain model."""
    added = {id(parameter) for parameter in of_adapters(run.model.model)}
    own = {name: one for name, one in plain_parameters(run.model.model) if id(one) not in added}
    return erased_side(run.states, {one: weights[name].detach() for name, one in own.items()}, "an erased model")


def asked(run, side):
    with side.enter():
        return Probe(REQUESTS, run.model.tokenizer).run(run.model)


@pytest.mark.parametrize("tuning", [FullTuning("before_edited"), LoRA(r=2)])
def test_erased_edits_are_told_gone_from_hidden_whatever_trained(delta, tuning):
    run = Run(delta, tuning)
    run.train()
    plain = dict(run.base.model.named_parameters())
    alive = LostEdits((), tuple(range(6)))
    state = {name: value.clone() for name, value in run.model.model.state_dict().items()}
    battery = Battery(most_rank=3, relearning=Relearning(steps=2, folds=2))
    # Bit for bit the base model's weights are the unedited model again.
    gone = erased_to(run, plain)
    edits = lost_since(alive, asked(run, gone), Rule.EXACT)
    assert len(edits.lost) >= 5
    result = battery.run(run.states, REQUESTS, edits, 7, tested=gone)
    assert all(finding.value == finding.control for edit in result.edits for finding in edit.findings)
    assert result.counts()[Verdict.GONE] == (len(edits.lost), len(edits.lost))
    # The edit left in place under a head that does not let it out: neither the head nor the edited matrices trained.
    head = planted(run.model.head, REQUESTS, run.model.tokenizer)
    hidden = erased_to(run, {**dict(run.edited.model.named_parameters()), "lm_head.weight": head})
    edits = lost_since(alive, asked(run, hidden), Rule.EXACT)
    control = erased_to(run, {**plain, "lm_head.weight": head})
    result = battery.run(run.states, REQUESTS, edits, 7, control, hidden)
    ours, theirs = result.counts()[Verdict.CONCEALED]
    assert ours == len(edits.lost) > theirs + 3
    assert "Tested is an erased model." in notes(result)[0]
    assert all(torch.equal(state[name], value) for name, value in run.model.model.state_dict().items())


@torch.no_grad()
def test_an_erased_model_is_put_back_as_in_a_plain_loop_also_in_weights_that_never_trained(delta):
    run = Run(delta, FullTuning("before_edited"))
    other = copy.deepcopy(run.base)
    other.head.weight.copy_(planted(other.head, REQUESTS, other.tokenizer))
    probe, expected = Probe(REQUESTS, run.model.tokenizer), torch.zeros(6).double()
    side = erased_to(run, dict(other.model.named_parameters()))
    assert not run.model.head.weight.requires_grad
    for alpha in ALPHAS:
        between = copy.deepcopy(run.edited)
        for name, parameter in between.model.named_parameters():
            parameter.lerp_(dict(other.model.named_parameters())[name], alpha)
        expected[success(probe.run(between).of_kind(Kind.REWRITE), Rule.EXACT) == 1] = alpha
    assert torch.equal(PutBack(run.states, probe, Rule.EXACT, side.changes).largest_alpha(side), expected)
    assert not torch.equal(PutBack(run.states, probe, Rule.EXACT).largest_alpha(side), expected)


@pytest.mark.parametrize("tuning", [FullTuning("before_edited"), LoRA(r=2, dropout=0.3), DoRA(r=2)])
def test_every_bit_flag_mode_and_random_state_is_as_before(delta, tuning):
    run = Run(delta, tuning)
    run.model.model.train()
    run.train()
    run.model.model.zero_grad()
    weights = {name: value.clone() for name, value in run.model.model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in run.model.model.parameters()]
    modes = [module.training for module in run.model.model.modules()]
    state = torch.random.get_rng_state()
    Battery(relearning=Relearning(1, 2)).run(run.states, REQUESTS, LostEdits((0, 1), ()), 3)
    assert all(torch.equal(weights[name], value) for name, value in run.model.model.state_dict().items())
    assert flags == [parameter.requires_grad for parameter in run.model.model.parameters()]
    assert modes == [module.training for module in run.model.model.modules()]
    assert all(parameter.grad is None for parameter in run.model.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@torch.no_grad()
def test_ranks_are_those_of_a_plain_loop_in_the_model_and_in_the_lens():
    model = tiny.llama()
    rows = answer_rows(model.tokenizer, [(request.question, request.target_new) for request in tiny.requests(6)])
    assert any(len(row.answer) > 1 for row in rows)
    for layer in (None, 1, 3):
        expected = []
        for row in rows:
            with recorded_output(model.blocks[3 if layer is None else layer]) as record:
                model.model(input_ids=torch.tensor([row.ids]))
            hidden = record.take()
            logits = model.head(model.model.model.norm(hidden))[0]
            ranks = [
                int((logits[place] > logits[place, token]).sum()) + 1
                for place, token in zip(row.positions, row.answer, strict=True)
            ]
            expected.append(max(ranks))
        assert target_ranks(model, rows, 12, layer).tolist() == expected


def test_logits_that_are_not_numbers_have_no_rank():
    model = tiny.llama()
    with torch.no_grad():
        model.head.weight[5] = torch.nan
    rows = answer_rows(model.tokenizer, [("Oslo lies in the", "south")])
    assert target_ranks(model, rows).tolist() == [torch.inf]


@pytest.mark.parametrize("tuning", [FullTuning(), LoRA(r=2), DoRA(r=2)])
@torch.no_grad()
def test_the_edit_is_put_back_as_in_a_plain_loop(delta, tuning):
    run = Run(delta, tuning)
    with torch.enable_grad():
        run.train(steps=6, lr=0.05)
    # The same weights in a plain model; peft's own merge is the oracle of the adapters.
    plain = copy.deepcopy(run.model.model)
    plain = plain.merge_and_unload() if isinstance(plain, peft.PeftModel) else plain
    probe = Probe(REQUESTS, run.model.tokenizer)
    for side, other in (
        (Side("tuned", run.states.tuned), plain),
        (unedited_control(run.states), run.base.model),
    ):
        expected = torch.zeros(6).double()
        for alpha in ALPHAS:
            between = copy.deepcopy(run.edited)
            for name, parameter in between.model.named_parameters():
                parameter.lerp_(dict(other.named_parameters())[name], alpha)
            outcomes = probe.run(between).of_kind(Kind.REWRITE)
            expected[success(outcomes, Rule.EXACT) == 1] = alpha
        assert torch.equal(PutBack(run.states, probe, Rule.EXACT).largest_alpha(side), expected)


def test_a_learnt_prompt_cannot_be_put_back_in_part(delta):
    run = Run(delta, PeftTuning(peft.PromptTuningConfig(num_virtual_tokens=2)))
    result = Battery(relearning=Relearning(1, 2)).run(run.states, REQUESTS, LostEdits((0, 1), (2,)), 3)
    assert not result.findings(Evidence.PUT_BACK)
    assert notes(result)[-1] == "Not possible in this run: put_back."
    assert edit_rows(result)[0][3 + list(Evidence).index(Evidence.PUT_BACK)] == "–"


def test_relearning_is_a_plain_training_on_the_other_edits():
    model = tiny.llama()
    relearning = Relearning(3, 2, lambda parameters: torch.optim.SGD(parameters, lr=0.5))
    assert relearning.looks == [1, 2, 3]
    found = relearning.first_steps(model, REQUESTS[:4], Rule.EXACT)
    expected = torch.full((4,), torch.inf).double()
    for fold in range(2):
        twin = copy.deepcopy(model)
        matrices = [p for n, p in twin.model.named_parameters() if "layers" in n and p.dim() > 1]
        for step in range(4):
            for place in range(fold, 4, 2):
                outcomes = Probe([REQUESTS[place]], twin.tokenizer).run(twin).of_kind(Kind.REWRITE)
                if step in (0, *relearning.looks) and success(outcomes, Rule.EXACT) == 1:
                    expected[place] = min(expected[place], step)
            twin.model.zero_grad()
            losses = []
            for place in (place for place in range(4) if place % 2 != fold):
                (row,) = answer_rows(twin.tokenizer, [(REQUESTS[place].question, REQUESTS[place].target_new)])
                logits = twin.model(input_ids=torch.tensor([row.ids])).logits[0, list(row.positions)]
                losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer)))
            (sum(losses) / len(losses)).backward()
            with torch.no_grad():
                for matrix in matrices:
                    matrix.sub_(0.5 * matrix.grad)
    assert torch.equal(found, expected)
    assert found.isfinite().any()


def test_edits_of_one_subject_are_held_out_together():
    same = [replace(REQUESTS[0], id="x"), *REQUESTS[:3], replace(REQUESTS[1], subject=REQUESTS[1].subject.upper())]
    assert Relearning(folds=4).parts(same) == [[0, 1], [2, 4], [3]]
    assert Relearning(folds=2).parts(same) == [[0, 1, 3], [2, 4]]
    assert Relearning().parts(same[:2]) == []


def test_one_lost_edit_has_no_others_to_be_relearnt_from(delta):
    run = Run(delta)
    result = Battery().run(run.states, REQUESTS, LostEdits((3,), (0, 1)), 3)
    assert not result.findings(Evidence.RELEARNING)
    assert "relearning" in notes(result)[-1]
    assert result.alive == 2


@pytest.mark.parametrize(
    ("evidence", "value", "control", "found", "beyond", "exchanged"),
    [
        (Evidence.TRACE, 0.3, 0.1, True, True, False),
        (Evidence.TRACE, 0.05, -1.0, False, False, False),
        (Evidence.TRACE, 0.3, 0.25, True, False, False),
        (Evidence.TOP_K, 10, 11, True, True, False),
        (Evidence.TOP_K, 2, 9, True, False, False),
        (Evidence.LENS, 40, 3, False, False, True),
        (Evidence.WORDING, 1, 0, True, True, False),
        (Evidence.WORDING, 2, 1, True, False, False),
        (Evidence.PUT_BACK, 0.75, 0.5, True, True, False),
        (Evidence.PUT_BACK, 0.0, 0.25, False, False, True),
        (Evidence.RELEARNING, 4, torch.inf, True, True, False),
        (Evidence.RELEARNING, 4, 2, True, False, True),
        (Evidence.RELEARNING, torch.inf, torch.inf, False, False, False),
    ],
)
def test_what_counts_as_found_and_as_more_than_the_control(evidence, value, control, found, beyond, exchanged):
    finding = Finding(evidence, value, control, 10)
    assert (finding.found, finding.beyond, finding.control_beyond) == (found, beyond, exchanged)
    verdict = Verdict.GONE if not beyond else Verdict.ERODED if evidence is Evidence.TRACE else Verdict.CONCEALED
    assert LostEdit("f", "1", "q", "t", (finding,)).verdict is verdict


def test_lost_edits_are_those_that_the_edit_made_right():
    model, probe = tiny.llama(), Probe(REQUESTS, tiny.llama().tokenizer)
    outcomes = probe.run(model)

    def with_right(*right):
        exact = outcomes.exact.clone()
        for place in range(6):
            exact[(outcomes.request == place) & (outcomes.kind == 0), 0] = float(place in right)
        return replace(outcomes, exact=exact)

    before, edited, now = with_right(0), with_right(0, 1, 2, 3), with_right(1, 5)
    assert lost_edits(before, edited, now, Rule.EXACT) == LostEdits((2, 3), (1,))
    assert lost_edits(None, edited, now, Rule.EXACT) == LostEdits((0, 2, 3), (1,))


def test_the_result_comes_back_from_its_file(delta, tmp_path):
    run = Run(delta)
    result = Battery(relearning=Relearning(1, 2)).run(run.states, REQUESTS, LostEdits((0, 4), (1,)), 3)
    with pytest.raises(ConfigError, match="holds no recoverability.parquet. Write it with: python -m edit_lit recover"):
        read_recoverability(tmp_path)
    write_recoverability(tmp_path, result)
    assert read_recoverability(tmp_path) == result
    assert "# Are the lost edits gone or hidden?" in markdown(result)
    assert next(row[:2] for row in verdict_rows(result)) == ("alive", "1")
    damage.truncate(tmp_path / FILE, 200)
    with pytest.raises(ConfigError, match="recoverability.parquet is no whole result"):
        read_recoverability(tmp_path)


def test_other_wordings_spell_the_relation_out_unless_it_is_a_number():
    request = REQUESTS[0]
    assert other_wordings(request)[-1] == "The side of Oslo is"
    assert other_wordings(replace(request, relation="head_of_state"))[-1] == "The head of state of Oslo is"
    assert other_wordings(replace(request, relation="P103")) == request.paraphrases
    assert [middle_layers(count) for count in (1, 2, 4, 12)] == [range(0, 1), range(0, 1), range(1, 3), range(3, 9)]


def test_a_diverged_model_and_a_run_without_an_edit_are_refused(delta):
    run = Run(delta)
    with torch.no_grad():
        run.model.head.weight[:] = torch.nan
    with pytest.raises(ConfigError, match="the fine-tuned model gives answers that are not numbers"):
        Battery().run(run.states, REQUESTS, LostEdits((0,), ()), 3)
    with pytest.raises(ConfigError, match="nothing was edited"):
        Battery().run(ModelStates(tiny.llama()), REQUESTS, LostEdits((0,), ()), 3)
    with pytest.raises(ConfigError, match="steps is 0; it must be at least 1"):
        Relearning(steps=0)
    with pytest.raises(ConfigError, match="top is 0; it must be at least 1"):
        Battery(most_rank=0)
