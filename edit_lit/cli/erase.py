"""The verb ``erase``: removes the edits of a finished run, and tells whether they are gone and what it cost."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from edit_lit.cli.after_training import free_folder, merge_adapter
from edit_lit.cli.devices import check_device
from edit_lit.cli.erased_model import FILE, MODEL
from edit_lit.cli.finished_run import FinishedRun
from edit_lit.cli.messages import quiet_libraries
from edit_lit.cli.mistakes import naming_part
from edit_lit.cli.options import in_one_line
from edit_lit.cli.parser import EditArgumentParser
from edit_lit.cli.suggestions import names_of
from edit_lit.deltas.swap import swapped
from edit_lit.erasers import Eraser
from edit_lit.erasers.table import HEADER, STAGES, TITLE, Erasure, lines
from edit_lit.measures.scores import Rule
from edit_lit.reports.environment import versions
from edit_lit.reports.table import markdown_table
from edit_lit.reports.terminal import print_table
from edit_lit.surgery.lines import Line, records, rows
from edit_lit.surgery.stages import Questions, WeightChange, copies, own_weights
from edit_lit.utilities.files import write_folder_atomically
from edit_lit.utilities.json_files import write_json

log = logging.getLogger(__name__)

_OWN: dict[str, Any] = {
    "run": str,
    "eraser": Eraser,
    "rule": Literal["exact", "prob", "first"],
    "output": str | None,
    "weights": bool,
    "device": str | None,
}


def erase(program: str, words: Sequence[str]) -> None:
    """Erase, print the table, and write the folder of the erased model.

    Args:
        program: The program's name in help texts.
        words: The options.

    Raises:
        ConfigError: If an option or the run cannot be used, or the eraser cannot act; nothing is written then.
    """
    quiet_libraries()
    parser = erase_parser(program)
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return
    with in_one_line("erase", parser, _OWN):
        options = parser.parse_args(list(words))
    with naming_part(options.as_dict()):
        eraser: Eraser = parser.instantiate(Namespace(eraser=options.eraser)).eraser
    default = Path(options.run, "erased", type(eraser).__name__.lower())
    folder = free_folder(Path(options.output) if options.output else default)
    if options.device is not None:
        check_device(options.device)
    finished = FinishedRun.load(Path(options.run), options.device)
    found = measured(finished, eraser)
    table, notes = lines(found, Rule(options.rule)), _notes(finished, found, options)
    write_folder_atomically(folder, lambda place: _write(place, finished, table, notes, options))
    print_table(TITLE, HEADER, rows(table), notes)
    log.info("written: %s", folder)


def option_names() -> list[str]:
    """The verb's options by dotted names, without those of the classes that an option takes."""
    return [name for name in names_of(erase_parser("").get_defaults().keys()) if name != "run"]


def erase_parser(program: str) -> EditArgumentParser:
    """The parser of the verb's options.

    Args:
        program: The program's name in help texts.
    """
    parser = EditArgumentParser(prog=f"{program} erase", description="Remove the edits of a run that has ended.")
    parser.add_argument("run", type=str, help="folder of a run that has ended")
    named = "what removes them: Undo, Unwrite, Spectral, Unlearn, FineTuneEdited"
    parser.add_subclass_arguments(Eraser, "eraser", required=True, help=named)
    parser.add_argument("--rule", type=_OWN["rule"], default="exact", help="success rule of the table")
    parser.add_argument(
        "--output", type=str | None, default=None, help="folder that is made; erased/<eraser> in the run's if not given"
    )
    parser.add_argument("--weights", type=bool, default=True, help="write the erased model, beside the table")
    parser.add_argument("--device", type=str | None, default=None, help="where it is put; else an accelerator if any")
    return parser


def measured(finished: FinishedRun, eraser: Eraser) -> Erasure:
    """Erase the edits of a run's model, and ask it before the edit, after fine-tuning and after erasing.

    Adapters are merged into the weights first. The model is the erased one afterwards.

    Args:
        finished: The run.
        eraser: The eraser.

    Raises:
        ConfigError: If the eraser cannot act; nothing was asked then.
    """
    language_model, states, data = finished.language_model, finished.states, finished.data
    intrinsic = finished.load_intrinsic()
    data.task.setup(language_model.tokenizer, finished.requests)
    assert states.delta is not None
    with states.unedited():
        before = own_weights(language_model)
    with states.edited():
        eraser.setup(language_model, states.delta, finished.requests)
    merge_adapter(language_model)
    names = eraser.changes(language_model)
    tuned = copies(language_model, names)
    eraser.erase(language_model)
    log.info("%s", eraser.describe())
    questions = Questions(language_model, finished.requests, intrinsic, data.task, data.batch_size)
    erased, now = questions.ask(), copies(language_model, names)
    with swapped(tuned):
        after = questions.ask()
    with swapped(before):
        unedited = questions.ask()
    changes = {
        language_model.parameter_name(one): WeightChange.between(before[one], then, now[one])
        for one, then in tuned.items()
    }
    return Erasure(unedited, after, erased, changes, eraser.describe())


def _notes(finished: FinishedRun, found: Erasure, options: Namespace) -> list[str]:
    return [
        f"{finished.run.name}, step {finished.step}, rule {options.rule}; intervals are over facts, of this run alone",
        found.did,
    ]


def _write(place: Path, finished: FinishedRun, table: Sequence[Line], notes: Sequence[str], options: Namespace) -> None:
    """Write the model, ``erasure.md`` and ``erasure.json`` into a folder."""
    text = "\n\n".join([f"# {TITLE}", *notes, markdown_table(HEADER, rows(table))])
    (place / "erasure.md").write_text(text, encoding="utf-8")
    about: Mapping[str, object] = {
        "run": str(options.run),
        "step": finished.step,
        "rule": options.rule,
        "eraser": options.eraser.as_dict(),
        "did": notes[-1],
        "versions": versions(),
        "numbers": records(table, STAGES),
    }
    write_json(place / FILE, about)
    if options.weights:
        finished.fine_tuner.save_pretrained(place / MODEL)
