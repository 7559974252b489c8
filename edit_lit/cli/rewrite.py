"""The verb ``rewrite``: brings the edits of a finished run back in several ways, and tells which does at what cost."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from edit_lit.cli.after_training import free_folder, merge_adapter
from edit_lit.cli.devices import check_device
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.deltas.swap import write_values
from edit_lit.guards.wordings import with_paraphrases
from edit_lit.language_model import LanguageModel
from edit_lit.measures.scores import Rule
from edit_lit.reports.environment import versions
from edit_lit.reports.table import Row, markdown_table
from edit_lit.reports.terminal import print_table
from edit_lit.rewriters import AddDelta, EditAgain, Interpolate, RestoreValues, RestoreWrites, Rewriter
from edit_lit.rewriters.table import CAUSES, CAUSES_HEADER, TITLE, Rewriting, Rewritings, cause_rows, lines
from edit_lit.surgery.lines import Line, records, rows
from edit_lit.surgery.stages import Questions, copies, own_weights, relative_change, relative_change_together
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.files import write_folder_atomically
from edit_lit.utilities.json_files import write_json
from edit_lit.utilities.progress import progress

log = logging.getLogger(__name__)


def rewrite(
    run: str,
    rule: str,
    paraphrases: int = 0,
    weights: str | None = None,
    output: str | None = None,
    device: str | None = None,
) -> None:
    """Rewrite, print the tables, and write them into a folder.

    Args:
        run: The run's folder: one that has ended, perhaps a control with ``edit.apply`` at false.
        rule: The success rule of the tables.
        paraphrases: So many paraphrases of each fact are restored beside its own prompt.
        weights: The rewriter, by its class, whose model is written beside the tables.
        output: The folder that is made.
        device: Where the model is put.

    Raises:
        ConfigError: If an option or the run cannot be used, or a rewriter cannot act; nothing is written then.
    """
    folder = free_folder(Path(output) if output else Path(run, "rewritten", weights.lower() if weights else "all"))
    if device is not None:
        check_device(device)
    finished = FinishedRun.load(Path(run), device, control=True)
    rewriters = _rewriters(finished, paraphrases)
    names = [_name(rewriter) for rewriter in rewriters]
    if weights is not None and weights not in names:
        raise ConfigError(f"--weights is {weights}, but of this run there are {', '.join(names)}. Name one of them.")
    found = measured(finished, rewriters, weights)
    table, notes = lines(found, Rule(rule)), _notes(finished, found, rule)
    causes = cause_rows(found, Rule(rule)) if found.first_back(Rule(rule)) else []

    def write(place: Path) -> None:
        _write(place, finished, found, table, causes, notes, Rule(rule))
        if weights is not None:
            finished.fine_tuner.save_pretrained(place / "model")

    write_folder_atomically(folder, write)
    print_table(TITLE, _header(found), rows(table), notes)
    if causes:
        print_table(CAUSES, CAUSES_HEADER, causes)
    log.info("written: %s", folder)


def measured(finished: FinishedRun, rewriters: Sequence[Rewriter], keep: str | None = None) -> Rewritings:
    """Rewrite a run's model in several ways, each from the fine-tuned one, and ask it before and behind each.

    Adapters are merged into the weights first.

    Args:
        finished: The run.
        rewriters: The ways.
        keep: The class of the one whose model is left behind; the fine-tuned one if not given.

    Raises:
        ConfigError: If none of them can act, or the one to be left behind cannot; why others cannot is noted.
    """
    language_model, states, data = finished.language_model, finished.states, finished.data
    intrinsic = finished.load_intrinsic()
    data.task.setup(language_model.tokenizer, finished.requests)
    questions = Questions(language_model, finished.requests, intrinsic, data.task, data.batch_size)
    refused: dict[str, str] = {}
    with states.edited():
        for rewriter in rewriters:
            with _noting_refusal(rewriter, refused, keep):
                rewriter.setup(language_model, states.delta, finished.requests)
        _check_any(rewriters, refused)
        edited = questions.ask() if states.delta is not None else None
    with states.unedited():
        before = questions.ask()
    merge_adapter(language_model)
    after, tuned = questions.ask(), own_weights(language_model)
    each: list[Rewriting] = []
    kept: dict[nn.Parameter, Tensor] = {}
    for rewriter in progress([one for one in rewriters if _name(one) not in refused], "rewritings", "ways"):
        with _noting_refusal(rewriter, refused, keep):
            rewriting, changed = _rewritten(language_model, rewriter, questions, tuned)
            each.append(rewriting)
            if rewriting.name == keep:
                kept = changed
    _check_any(rewriters, refused)
    write_values(kept)
    return Rewritings(before, edited, after, each, refused)


def _name(rewriter: Rewriter) -> str:
    return type(rewriter).__name__


@contextmanager
def _noting_refusal(rewriter: Rewriter, refused: dict[str, str], keep: str | None) -> Iterator[None]:
    """Go on without a rewriter that cannot act, unless it is the one whose model was asked for."""
    try:
        yield
    except ConfigError as error:
        if _name(rewriter) == keep:
            raise
        refused[_name(rewriter)] = str(error)


def _check_any(rewriters: Sequence[Rewriter], refused: Mapping[str, str]) -> None:
    if len(refused) == len(rewriters):
        raise ConfigError(next(iter(refused.values())))


def _rewritten(
    language_model: LanguageModel, rewriter: Rewriter, questions: Questions, tuned: Mapping[nn.Parameter, Tensor]
) -> tuple[Rewriting, dict[nn.Parameter, Tensor]]:
    """What a rewriter does to the model, which stays as it is, and the values of what it changed."""
    names = rewriter.rewrite(language_model)
    log.info("%s", rewriter.describe())
    changed = copies(language_model, names)
    stage = questions.ask()
    write_values({parameter: tuned[parameter] for parameter in changed})
    sizes = {
        language_model.parameter_name(parameter): relative_change(tuned[parameter], now)
        for parameter, now in changed.items()
    }
    together = relative_change_together((tuned[parameter], now) for parameter, now in changed.items())
    found = Rewriting(_name(rewriter), rewriter.label, rewriter.cause, stage, together, sizes, rewriter.describe())
    return found, changed


def _rewriters(finished: FinishedRun, paraphrases: int) -> list[Rewriter]:
    """The ways that there are for a run, the least first."""
    with_paraphrases(finished.requests, paraphrases, "--paraphrases")
    editor = finished.editor
    again = [EditAgain(editor)] if editor is not None else []
    if finished.states.delta is not None:
        return [RestoreWrites(paraphrases), RestoreValues(paraphrases), *again, Interpolate()]
    if paraphrases:
        raise ConfigError(
            f"--paraphrases is {paraphrases}, but the run edited nothing whose writes could be restored. Leave it out."
        )
    assert editor is not None
    return [AddDelta(editor, finished.cache), *again]


def _header(found: Rewritings) -> Row:
    return ("", *found.stages)


def _notes(finished: FinishedRun, found: Rewritings, rule: str) -> list[str]:
    of_run = f"{finished.run.name}, step {finished.step}, rule {rule}; intervals are over facts, of this run alone"
    each = "each rewriting starts from the fine-tuned model"
    left_out = [f"without {name}: {why}" for name, why in found.refused.items()]
    return [of_run, each, *(one.did for one in found.each), *left_out]


def _write(
    place: Path,
    finished: FinishedRun,
    found: Rewritings,
    table: Sequence[Line],
    causes: Sequence[Row],
    notes: Sequence[str],
    rule: Rule,
) -> None:
    """Write ``rewriting.md`` and ``rewriting.json`` into a folder."""
    parts = [f"# {TITLE}", *notes, markdown_table(_header(found), rows(table))]
    if causes:
        parts += [f"# {CAUSES}", markdown_table(CAUSES_HEADER, causes)]
    (place / "rewriting.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    about: Mapping[str, object] = {
        "run": str(finished.run.folder),
        "step": finished.step,
        "rule": str(rule),
        "edited_first": found.edited is not None,
        "did": {one.name: one.did for one in found.each},
        "refused": dict(found.refused),
        "versions": versions(),
        "numbers": records(table, [*found.stages]),
        "changes": {one.name: one.changes for one in found.each},
        "first_back": [
            {
                "question": finished.requests[edit].question,
                "by": None if place_of is None else found.each[place_of].name,
            }
            for edit, place_of in found.first_back(rule).items()
        ],
    }
    write_json(place / "rewriting.json", about)
