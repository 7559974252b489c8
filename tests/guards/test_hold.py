"""Hold keeps the writes exactly, under any optimizer, and promises nothing else."""

from __future__ import annotations

from functools import partial

import pytest
import tiny
import torch
from planted import keys

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows
from edit_lit.editors import LocFTBF
from edit_lit.editors.gradient.training import TargetTraining
from edit_lit.facts.request import EditRequest
from edit_lit.guards import Hold
from edit_lit.language_model.module_tree import projection_weight
from edit_lit.utilities.errors import ConfigError

# In models this small, few keys are many.
pytestmark = pytest.mark.filterwarnings("ignore:Hold protects more than a quarter")

LAYERS = [1, 2]
TEXTS = [" ".join(tiny.OBJECTS), "the bus goes to Oslo and to New York . it is late ."]
OPTIMIZERS = {
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.3),
    "sgd": partial(torch.optim.SGD, lr=1e-2, momentum=0.9, weight_decay=0.1),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3),
}


def edited(make=tiny.llama, train="written"):
    """An edited model, of which some part trains."""
    model = make()
    requests = tiny.requests(4)
    delta = LocFTBF(layers=LAYERS, training=TargetTraining(epochs=10, lr=0.02)).edit(model, requests)
    delta.apply(model)
    names = set(delta.updates)
    for name, parameter in model.model.named_parameters():
        bias = name.replace(".weight", ".bias") != name and name.endswith(".weight")
        written = name in names or (name.replace(".bias", ".weight") in names and not bias)
        parameter.requires_grad_({"written": written, "others": not written, "all": True}[train])
    return model, delta, requests


def answers(model, keys):
    with torch.no_grad():
        return {layer: model.output_projection(layer)(of_layer) for layer, of_layer in keys.items()}


def train(model, optimizer, guard=None, steps=30, clip=None):
    ids = [torch.tensor([model.tokenizer(text)["input_ids"]]) for text in TEXTS]
    model.model.train()
    for step in range(steps):
        optimizer.zero_grad()
        model.model(ids[step % 2], labels=ids[step % 2]).loss.backward()
        if clip is not None:
            if guard is not None:
                guard.before_step()
            torch.nn.utils.clip_grad_norm_(model.model.parameters(), clip)
        optimizer.step()
    model.model.eval()


def change(before, after):
    """The largest change of an answer in relation to its norm."""
    off = {layer: (after[layer] - start).norm(dim=1) / start.norm(dim=1) for layer, start in before.items()}
    return max(float(of_layer.max()) for of_layer in off.values())


def trainable(model):
    return [parameter for parameter in model.model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2], ids=["llama", "gpt2 with a bias"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_writes_are_kept_exactly_and_the_rest_trains(make, name):
    model, delta, requests = edited(make)
    before, start = answers(model, of := keys(model, requests)), [p.detach().clone() for p in trainable(model)]
    guard, optimizer = Hold(), OPTIMIZERS[name](trainable(model))
    guard.setup(model, delta, requests)
    guard.attach(optimizer)
    train(model, optimizer, guard, clip=1.0)
    assert change(before, answers(model, of)) < 1e-12
    for now, then in zip(trainable(model), start, strict=True):
        assert (now - then).norm() > 1e-3 * then.norm()
    measures = guard.measures()
    assert float(measures["write_off"]) < 1e-13
    assert float(measures["write_moved"]) >= float(measures["write_off"])


def test_without_it_and_with_the_gradients_alone_they_are_not():
    class GradientsAlone(Hold):
        def after_step(self):
            """As gradient projection is published."""

    changes = []
    for guard in (None, GradientsAlone()):
        model, delta, requests = edited()
        before, of = answers(model, found := keys(model, requests)), found
        optimizer = OPTIMIZERS["adamw"](trainable(model))
        if guard is not None:
            guard.setup(model, delta, requests)
            guard.attach(optimizer)
        train(model, optimizer)
        changes.append(change(before, answers(model, of)))
    assert changes[0] > 0.1
    assert 1e-3 < changes[1] < changes[0]


def test_a_gradient_has_no_part_along_the_keys():
    model, delta, requests = edited()
    guard = Hold()
    guard.setup(model, delta, requests)
    ids = torch.tensor([model.tokenizer(TEXTS[0])["input_ids"]])
    model.model(ids, labels=ids).loss.backward()
    gradients = {layer: projection_weight(model.output_projection(layer)).grad for layer in LAYERS}
    before = {layer: gradient.clone() for layer, gradient in gradients.items()}
    guard.before_step()
    for layer, of_layer in keys(model, requests).items():
        assert (before[layer] @ of_layer.T).norm() > 1e-6
        span = torch.linalg.qr(of_layer.T).Q
        expected = before[layer] - before[layer] @ span @ span.T
        torch.testing.assert_close(gradients[layer], expected, rtol=0, atol=1e-12)


def test_keys_that_move_are_none_of_its_promise():
    model, delta, requests = edited(train="all")
    before, of = answers(model, found := keys(model, requests)), found
    guard, optimizer = Hold(), OPTIMIZERS["adamw"](trainable(model))
    guard.setup(model, delta, requests)
    guard.attach(optimizer)
    train(model, optimizer)
    assert change(before, answers(model, of)) < 1e-12, "the answers to the old keys"
    assert change(before, answers(model, keys(model, requests))) > 0.05, "the keys have moved"


def test_paraphrases_and_contexts_are_protected_where_they_are_asked_for():
    model, delta, requests = edited()
    said = [request.paraphrases[0] for request in requests]
    ranks = []
    for guard in (Hold(), Hold(paraphrases=1), Hold(paraphrases=1, contexts=["it is late . {}"])):
        guard.setup(model, delta, requests)
        ranks.append([int(part.split(" of")[0]) for part in guard.describe().split(": ")[1:]])
    assert all(a < b < c for a, b, c in zip(*ranks, strict=True)), ranks
    assert ranks[0] == [4, 4]
    asked = [
        EditRequest(request.subject, text.replace(request.subject, "{}"), request.target_new)
        for request, text in zip(requests, said, strict=True)
    ]
    rows = prompt_rows(model.tokenizer, asked, ["{}"])
    of = {1: KeyExtractor(model, rows, 1).read(1).bare_keys}
    before = answers(model, of)
    guard, optimizer = Hold(paraphrases=1), OPTIMIZERS["adamw"](trainable(model))
    guard.setup(model, delta, requests)
    guard.attach(optimizer)
    train(model, optimizer)
    assert change(before, answers(model, of)) < 1e-12


def test_less_energy_protects_fewer_directions():
    model, delta, requests = edited()
    whole, part = Hold(paraphrases=1), Hold(paraphrases=1, energy=0.8)
    for guard in (whole, part):
        guard.setup(model, delta, requests)
    for name, write in whole.writes.items():
        assert part.writes[name].rank < write.rank


def test_setting_up_leaves_no_trace():
    model, delta, requests = edited(train="all")
    model.model.train()
    weights = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    state = torch.get_rng_state()
    Hold(paraphrases=1).setup(model, delta, requests)
    assert model.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.model.parameters())


def test_what_it_could_not_keep_is_refused():
    model, delta, requests = edited(train="others")
    with pytest.raises(ConfigError, match=r"none of the edited matrices \(layers \[1, 2\]\) trains"):
        Hold().setup(model, delta, requests)
    model, delta, requests = edited()
    contexts = [f"{word} {{}}" for word in "it is late . the bus goes to and".split()]
    with pytest.raises(ConfigError, match=r"keys span all 24 inputs .* Protect fewer"):
        Hold(contexts=contexts).setup(model, delta, requests)
    with pytest.warns(UserWarning, match="more than a quarter of the inputs"):
        Hold(paraphrases=1).setup(model, delta, requests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": 0}, "energy is 0"),
        ({"paraphrases": -1}, "paraphrases is -1"),
        ({"contexts": ["x"]}, "contexts holds 'x'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Hold(**options)
