"""The worked examples of the documentation do what they say, by themselves and on the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from editors import small

from callbacks import KnowledgeEdit
from edit_lit.cli import main
from edit_lit.deltas.delta import Delta
from edit_lit.editors import KeyCovariance, TargetTraining
from edit_lit.editors.closed_form.key_covariance import Spectrum
from edit_lit.language_model.scoring import mean_nll
from edit_lit.measures.outcome_files import FOLDER, read_probes
from edit_lit.measures.outcomes import Pool
from edit_lit.measures.probe import Probe
from edit_lit.measures.scores import Rule, edit_scores, target_probability
from edit_lit.records import TextLines

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

pytestmark = tiny.ROUGH_EDITS


def shrinkage_memit(tmp_path, **options):
    from my_editor import ShrinkageMEMIT

    (tmp_path / "corpus.txt").write_text("\n".join(small.TEXT))
    covariance = KeyCovariance(TextLines(str(tmp_path / "corpus.txt")), cache_dir=str(tmp_path / "moments"))
    parts = {"target_values": small.values(), "contexts": small.contexts(), "key_covariance": covariance}
    return ShrinkageMEMIT([1, 2], **{"covariance_weight": 0.1, **parts, **options})


def statement_tuning(*_):
    from my_gradient_editor import StatementTuning

    return StatementTuning([1, 2], TargetTraining(lr=0.02, epochs=20))


@pytest.mark.parametrize("make", [shrinkage_memit, statement_tuning])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_editor_of_ones_own_writes_facts_and_leaves_the_model_alone(make, family, tmp_path):
    language_model, made = small.model(family), small.requests()
    probe = Probe(made, language_model.tokenizer)
    before = {name: parameter.clone() for name, parameter in language_model.model.named_parameters()}
    known = target_probability(probe.run(language_model))
    editor = make(tmp_path)
    delta = editor.edit(language_model, made)
    assert all(torch.equal(before[name], item) for name, item in language_model.model.named_parameters())
    assert delta.layers == (1, 2)
    assert delta.hash() == editor.edit(language_model, made).hash()
    delta.apply(language_model)
    assert target_probability(probe.run(language_model)) > 2 * known


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_the_shrunk_preconditioner_is_the_inverse_of_the_shrunk_covariance(tmp_path, shrinkage):
    generator = torch.Generator().manual_seed(0)
    keys_TN, edited_NB = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((40, 6), (6, 3)))
    moment_NN = keys_TN.T @ keys_TN / 40
    editor = shrinkage_memit(tmp_path, covariance_weight=7.0, shrinkage=shrinkage)
    found_NB = editor.preconditioner(Spectrum.of(moment_NN, 40)) @ edited_NB
    shrunk_NN = (1 - shrinkage) * moment_NN + shrinkage * moment_NN.trace() / 6 * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(7.0 * shrunk_NN @ found_NB, edited_NB)


def test_a_statements_loss_is_that_of_the_model_on_running_text():
    language_model, made = tiny.llama(), tiny.requests()
    rows = statement_tuning().rows(language_model, made)
    losses = mean_nll(language_model, rows)
    for request, loss in zip(made, losses, strict=True):
        ids = torch.tensor([language_model.tokenizer(f"{request.question} {request.target_new}")["input_ids"]])
        torch.testing.assert_close(loss, language_model.model(input_ids=ids, labels=ids).loss.double())


def test_a_task_of_ones_own_scores_the_last_word_of_held_out_sentences():
    from my_task import LastWord

    tokenizer = tiny.byte_tokenizer()
    task = LastWord(["the bus goes to Oslo", "it is late in New York", "it rains in Bern"], held_out=2)
    task.setup(tokenizer, [])
    (train,) = task.train_dataset().examples
    assert tokenizer.decode(train["input_ids"]) == "the bus goes to Oslo</s>"
    assert train["labels"] == train["input_ids"]
    answers = [
        tokenizer.decode([id_ for id_, scored in zip(one["input_ids"], one["answer_mask"], strict=True) if scored])
        for one in task.val_dataset().examples
    ]
    assert [answer.strip() for answer in answers] == ["York", "Bern"]
    with pytest.raises(ValueError, match="held_out is 3, but there are 3 sentences"):
        LastWord(["a b", "c d", "e f"], held_out=3)


def test_a_fact_source_of_ones_own_reads_its_lines_and_says_which_one_is_wrong(tmp_path):
    from my_facts import TabbedFacts

    path = tmp_path / "facts.tsv"
    path.write_text("Oslo\t{} lies in the\tsouth\tnorth\nNew Delhi\tPeople say that {} is in the\teast\tsouth\n")
    first, second = TabbedFacts(path=str(path)).load()
    assert (first.question, first.target_new, first.target_true, first.id) == (
        "Oslo lies in the",
        "south",
        "north",
        "1",
    )
    assert TabbedFacts(path=str(path), indices=[1]).load() == [second]
    path.write_text("Oslo\t{} lies in the\tsouth\n")
    with pytest.raises(ValueError, match="line 1 has 3 columns"):
        TabbedFacts(path=str(path)).load()
    with pytest.raises(ValueError, match=r"absent.tsv' is not a file"):
        TabbedFacts(path="absent.tsv")


def test_a_callback_of_ones_own_logs_the_edited_matrices_once_for_each_step(tmp_path, corpus, monkeypatch):
    from lightning.pytorch.loggers import CSVLogger
    from my_callback import EditedNorms

    logged, module = [], tiny.tuner()
    monkeypatch.setattr(CSVLogger, "log_metrics", lambda self, metrics, step=None: logged.append((step, metrics)))
    edit = KnowledgeEdit(tiny.memit(corpus, str(tmp_path / "moments")), cache_dir=str(tmp_path / "deltas"))
    trainer = tiny.trainer(
        str(tmp_path),
        [edit, EditedNorms(every_n_steps=2)],
        logger=CSVLogger(str(tmp_path)),
        accumulate_grad_batches=2,
        max_steps=4,
        max_epochs=-1,
    )
    trainer.fit(module, datamodule=tiny.data(batch_size=2))
    points = [(step, metrics) for step, metrics in logged if any(name.startswith("norms/") for name in metrics)]
    assert [step for step, _ in points] == [0, 2, 4]
    model = module.language_model.model.model
    assert points[-1][1] == {
        f"norms/layer_{n}": float(model.layers[n].mlp.down_proj.weight.detach().norm()) for n in (1, 2)
    }
    assert points[0][1] != points[-1][1]
    with pytest.raises(ValueError, match="every_n_steps is 0"):
        EditedNorms(0)


@pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning")
def test_all_of_them_are_named_by_their_paths_on_the_command_line(tmp_path):
    main(
        [
            *("fit", "--config", "configs/quickstart.yaml", "--config", str(EXAMPLES / "my_experiment.yaml")),
            *("--trainer.default_root_dir", str(tmp_path), "--trainer.max_steps", "2", "--data.intrinsic", "null"),
            *("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
        ]
    )
    folder = tmp_path / "my_experiment" / "version_0"
    provenance = Delta.load(folder / "edits" / "delta.safetensors").provenance
    assert provenance.editor == "my_editor.ShrinkageMEMIT"
    assert provenance.options["shrinkage"] == 0.5
    probes = read_probes(folder / FOLDER)[Pool.EDITED]
    assert edit_scores(probes[-1], Rule.EXACT)["efficacy"] == 0
    assert edit_scores(probes[0], Rule.EXACT)["efficacy"] == 1
    with open(folder / "metrics.csv", newline="") as file:
        columns = next(csv.reader(file))
    assert {"norms/layer_1", "norms/layer_2", "norms/layer_3"} <= set(columns)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["task"]["class_path"] == "my_task.LastWord"


def test_the_script_without_the_command_line_runs(tmp_path, monkeypatch, capsys):
    source = (EXAMPLES / "without_the_command_line.py").read_text()
    for constant, smaller in (("N_EDITS = 50", "N_EDITS = 4"), ("STEPS = 150", "STEPS = 2")):
        assert constant in source
        source = source.replace(constant, smaller)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(source, "without_the_command_line.py", "exec"), names)
    points = names["retention"].points
    assert list(points) == [0, 2]
    assert points[0]["edit/efficacy/exact"] == 1
    assert edit_scores(names["unedited"][Pool.EDITED], Rule.EXACT)["efficacy"] == 0
    assert "retention after 2 steps: " in capsys.readouterr().out
    assert (tmp_path / Path(names["FIGURE"])).stat().st_size > 1000
