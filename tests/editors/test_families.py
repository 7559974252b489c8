"""Every decoder family of transformers is edited by the same code."""

from __future__ import annotations

import pytest
import small
import torch
import transformers as hf

from edit_lit.activations.keys import KeyExtractor
from edit_lit.activations.token_rows import prompt_rows, statement_rows
from edit_lit.editors import MEMIT, AlphaEdit, BeyondRank
from edit_lit.language_model import LanguageModel
from edit_lit.language_model.modes import frozen
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import target_probability


def editors(key_covariance):
    parts = {"target_values": small.values(), "contexts": small.contexts(), "key_covariance": key_covariance}
    return [
        MEMIT([1, 2], covariance_weight=0.1, ridge=0.1, **parts),
        AlphaEdit([1, 2], null_space=BeyondRank(4), l2=0.1, **parts),
    ]


@pytest.mark.parametrize("family", small.FAMILIES)
def test_a_family_is_edited_and_restored(family, key_covariance):
    language_model, made = small.model(family), small.requests()
    probe = Probe(made, language_model.tokenizer)
    before = {name: parameter.clone() for name, parameter in language_model.model.named_parameters()}
    known = target_probability(probe.run(language_model))
    for editor in editors(key_covariance):
        delta = editor.edit(language_model, made)
        assert all(torch.equal(before[name], item) for name, item in language_model.model.named_parameters())
        delta.apply(language_model)
        assert target_probability(probe.run(language_model)) > max(3 * known, known + 0.03)
        delta.revert(language_model)
        assert all(torch.equal(before[name], item) for name, item in language_model.model.named_parameters())


@pytest.mark.parametrize("family", small.FAMILIES)
def test_keys_and_partial_runs_equal_a_full_forward_pass(family):
    """What is recorded in streamed, cut and resumed passes is what a plain call of the model computes."""
    language_model, made = small.model(family), small.requests()
    rows = prompt_rows(language_model.tokenizer, made, small.CONTEXTS)
    stream = KeyExtractor(language_model, rows, value_layer=3, uniform_weights=True)
    stream.advance(1)
    reading = stream.read(2)
    for fact, of_fact in enumerate(rows):
        keys = []
        for row in of_fact:
            seen = {}
            hooks = [
                language_model.output_projection(2).register_forward_pre_hook(lambda _, i, s=seen: s.update(key=i[0])),
                language_model.blocks[3].register_forward_hook(
                    lambda _, __, o, s=seen: s.update(value=o[0] if isinstance(o, tuple) else o)
                ),
            ]
            language_model.model(input_ids=torch.tensor([row.ids]))
            for hook in hooks:
                hook.remove()
            keys.append(seen["key"].reshape(len(row.ids), -1)[row.subject_last])
            if row is of_fact[0]:
                torch.testing.assert_close(
                    reading.values[fact], seen["value"][0, row.subject_last], rtol=1e-6, atol=1e-6
                )
        torch.testing.assert_close(reading.keys[fact], torch.stack(keys).mean(0), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(reading.bare_keys[fact], keys[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "bloom"])
def test_a_beginning_of_text_token_moves_the_lookup_by_one(family):
    plain, with_bos = small.tokenizer(), small.tokenizer(bos=True)
    for rows in (prompt_rows, lambda t, r, c: [[row] for row in statement_rows(t, r, "{} is a")]):
        for without, behind in zip(
            rows(plain, small.requests(), small.CONTEXTS), rows(with_bos, small.requests(), small.CONTEXTS), strict=True
        ):
            assert [row.subject_last + 1 for row in without] == [row.subject_last for row in behind]
            assert [row.answer for row in without] == [row.answer for row in behind]
    language_model = small.model(family, bos=True)
    with frozen(language_model.model):
        assert (
            KeyExtractor(language_model, prompt_rows(with_bos, small.requests(), ["{}"]), 1)
            .read(0)
            .keys.isfinite()
            .all()
        )


@pytest.mark.parametrize("config_class", [hf.MixtralConfig, hf.Qwen2MoeConfig])
def test_a_mixture_of_experts_is_refused(config_class):
    config = config_class(**small.LLAMA_LIKE, vocab_size=60, num_experts=2, num_local_experts=2, num_experts_per_tok=2)
    mixture = LanguageModel.wrap(hf.AutoModelForCausalLM.from_config(config), small.tokenizer())
    with pytest.raises(ValueError, match="has no single MLP output projection: it holds several expert MLPs"):
        MEMIT([1]).edit(mixture, small.requests())
