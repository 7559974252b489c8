"""The command line: Lightning's ``fit`` and ``validate``, and the verbs of this project beside them.

What a verb needs is imported when it runs, so that help and mistakes come at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import edit_lit
from edit_lit.cli.messages import set_up_messages
from edit_lit.cli.mistakes import mistake_behind
from edit_lit.utilities.errors import ConfigError
from edit_lit.utilities.escaping import visible

PROGRAM = "edit_lit" if Path(sys.argv[0]).name == "edit_lit" else "python -m edit_lit"
LIGHTNING_VERBS = {
    "fit": "edit, fine-tune and watch the edits",
    "validate": "measure the downstream task",
    "edit": "edit only; write the Delta and, if asked, the edited model",
    "cycles": "edit one fact at a time, fine-tune, go back to the model as it was, and pool the cycles",
}
VERBS = (*LIGHTNING_VERBS, "sweep", "report", "explain", "recover", "rewrite", "erase", "verify", "detect", "merge")
_OF_SWEEPS = ("against", "match", "lines", "panels")
_OWN_OPTIONS = {
    "sweep": ("--config", "--output", "--address", "--cpus", "--dry-run", "--watch"),
    "report": ("--rule", "--output", *(f"--{name}" for name in _OF_SWEEPS)),
    "explain": ("--rule", "--layers", "--seed", "--device"),
    "recover": ("--rule", "--control", "--erased", "--top", "--steps"),
    "rewrite": ("--rule", "--paraphrases", "--weights", "--output", "--device"),
    "merge": ("--output",),
}
REWRITERS = ("RestoreWrites", "RestoreValues", "EditAgain", "Interpolate", "AddDelta")
RULES = ("prob", "exact", "first", "token")


class Refused(SystemExit):
    """The end of a program that was used wrongly: one line on stderr that says what to do, and status 2."""

    def __init__(self, message: str) -> None:
        self.message = visible(" ".join(message.split()))
        print(f"error: {self.message}", file=sys.stderr)
        super().__init__(2)

    def __str__(self) -> str:
        return f"error: {self.message}"


class _Parser(argparse.ArgumentParser):
    """A parser that raises what is wrong, instead of printing it below its usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. {self.prog} --help lists what there is.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description=edit_lit.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"edit_lit {edit_lit.__version__}")
    parser.add_argument("--completion", choices=["bash"], help="print a script that completes verbs and options")
    verbs = parser.add_subparsers(dest="verb")
    for verb, text in LIGHTNING_VERBS.items():
        # Without options of their own, so that all of them, --help included, are left for Lightning's parser.
        verbs.add_parser(verb, help=text, add_help=False, allow_abbrev=False)
    many = verbs.add_parser(
        "sweep", help="many runs, on Ray; those that are done are not run again", allow_abbrev=False
    )
    many.add_argument("--config", required=True, help="the sweep file")
    many.add_argument("--output", help="the sweep's folder; runs/sweeps/ and its name if not given")
    many.add_argument("--address", help="address of a Ray cluster, or auto; without it a local one is started")
    many.add_argument("--cpus", type=int, help="processors of this machine that a local Ray gets; all if not given")
    many.add_argument("--dry-run", action="store_true", help="list the trials and what is there already, and run none")
    many.add_argument("--watch", action="store_true", help="look at the sweep that another process carries out")
    made = verbs.add_parser("report", help="figures and tables from the folders of runs", allow_abbrev=False)
    made.add_argument("runs", nargs="+", help="folders of runs, folders that hold some, or the folder of a sweep")
    made.add_argument("--rule", choices=RULES, default="exact", help="success rule of figures and tables")
    made.add_argument("--output", help="where the comparison of several runs goes; report/ in the first folder if not")
    sweep = made.add_argument_group("for a sweep")
    sweep.add_argument("--against", metavar="ARM", help="the arm to compare with: its name or labels; else the first")
    sweep.add_argument("--match", metavar="AXIS", help="compare at that label of an axis which trains as well")
    sweep.add_argument("--lines", metavar="AXIS", help="the axis whose labels are lines of a panel")
    sweep.add_argument("--panels", metavar="AXIS", help="the axis whose labels are panels")
    why = verbs.add_parser("explain", help="why the edits of a run were lost", allow_abbrev=False)
    why.add_argument("run", help="the folder of a run that has ended")
    why.add_argument("--rule", choices=RULES[:3], default="exact", help="success rule by which edits are lost")
    why.add_argument("--layers", type=int, default=0, metavar="PAIRS", help="go down to layers, by sampled orders")
    why.add_argument("--seed", type=int, default=0, help="seed of these orders")
    why.add_argument("--device", help="where the model is put; an accelerator if there is one")
    lost = verbs.add_parser(
        "recover", help="tell whether the lost edits of a run are gone or hidden", allow_abbrev=False
    )
    lost.add_argument("run", help="folder of a run that has ended")
    lost.add_argument("--rule", choices=RULES[:3], default="exact", help="success rule")
    lost.add_argument("--control", metavar="RUN", help="the same run with edit.apply false; else the unedited model")
    lost.add_argument("--erased", metavar="FOLDER", help="one that erase wrote: test that model instead")
    lost.add_argument("--top", type=int, default=10, help="which ranks count as found; 10 if not given")
    lost.add_argument("--steps", type=int, default=16, help="steps of relearning on other lost edits; 16 if not given")
    back = verbs.add_parser(
        "rewrite", help="bring the edits of a run back in several ways, and tell which does", allow_abbrev=False
    )
    back.add_argument("run", help="folder of a run that has ended; with edit.apply false, for the other orders")
    back.add_argument("--rule", choices=RULES[:3], default="exact", help="success rule of the tables")
    back.add_argument("--paraphrases", type=int, default=0, help="restore so many of each fact; none if not given")
    back.add_argument("--weights", choices=REWRITERS, metavar="WAY", help="write the model that this way makes")
    back.add_argument("--output", help="folder that is made; in the run's, below rewritten/, if not given")
    back.add_argument("--device", help="where the model is put; an accelerator if there is one")
    # As with Lightning's verbs, other parsers read their options.
    verbs.add_parser("erase", help="remove the edits of a run that has ended", add_help=False, allow_abbrev=False)
    verbs.add_parser("verify", help="tell whether a model holds what is demanded", add_help=False, allow_abbrev=False)
    verbs.add_parser("detect", help="tell whether a model looks edited, and where", add_help=False, allow_abbrev=False)
    merged = verbs.add_parser("merge", help="several edits of one unedited model as one", allow_abbrev=False)
    merged.add_argument("deltas", nargs="+", help="files of Deltas")
    merged.add_argument("--output", default="merged.safetensors", help="where the merged Delta is written")
    return parser


_USUAL_NAMES = {"train": "fit", "tune": "fit", "finetune": "fit"}
"""What other programs call a verb."""


def _check_verb(words: Sequence[str]) -> None:
    """Refuse a command line that does not start with a verb, and find out what was meant."""
    listed = ", ".join(VERBS)
    if not words:
        raise ConfigError(f"no verb is given. It is one of {listed}; start with: {PROGRAM} fit --config FILE")
    if words[0] in VERBS or words[0].split("=")[0] in ("-h", "--help", "--version", "--completion"):
        return
    verb = next((word for word in words if word in VERBS), None)
    if verb is not None:
        raise ConfigError(f"{words[0]} stands before the verb. Write {verb} first: {PROGRAM} {verb} {words[0]} …")
    if words[0] in _USUAL_NAMES:
        usual = _USUAL_NAMES[words[0]]
        raise ConfigError(f"{words[0]!r} is no verb. Did you mean {usual}? It is one of {listed}.")
    raise ConfigError(f"{words[0]!r} is no verb.{_meant(words[0], VERBS) or f' It is one of {listed}.'}")


def _meant(given: str, known: Sequence[str]) -> str:
    found = get_close_matches(given.lower(), known, n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""


def _run(args: Sequence[str] | None) -> None:
    parser = _parser()
    words = list(sys.argv[1:] if args is None else args)
    _check_verb(words)
    options, rest = parser.parse_known_args(words)
    if options.completion:
        _print_completion()
    elif options.verb in LIGHTNING_VERBS:
        from edit_lit.cli.lightning_cli import run_lightning

        run_lightning(PROGRAM, [options.verb, *rest])
    elif options.verb in ("erase", "verify", "detect"):
        _with_own_parser(options.verb, rest)
    elif rest:
        raise ConfigError(f"{rest[0]} is no option of {options.verb}.{_meant(rest[0], _OWN_OPTIONS[options.verb])}")
    elif options.verb == "sweep":
        from edit_lit.cli.sweep import sweep, watch

        if options.watch:
            watch(options.config, options.output)
        else:
            sweep(options.config, options.output, options.address, options.cpus, options.dry_run)
    elif options.verb == "report":
        _report(options)
    elif options.verb == "explain":
        from edit_lit.cli.explain import explain
        from edit_lit.measures.scores import Rule

        explain(Path(options.run), Rule(options.rule), options.layers, options.seed, options.device)
    elif options.verb == "recover":
        from edit_lit.cli.recover import recover

        recover(options.run, options.rule, options.control, options.top, options.steps, options.erased)
    elif options.verb == "rewrite":
        from edit_lit.cli.rewrite import rewrite

        rewrite(options.run, options.rule, options.paraphrases, options.weights, options.output, options.device)
    else:
        from edit_lit.cli.verbs import merge

        merge(options.deltas, options.output)


def _with_own_parser(verb: str, words: Sequence[str]) -> None:
    if verb == "erase":
        from edit_lit.cli.erase import erase

        erase(PROGRAM, words)
    elif verb == "verify":
        from edit_lit.cli.verify import verify

        verify(PROGRAM, words)
    else:
        from edit_lit.cli.detect import detect

        detect(PROGRAM, words)


def _report(options: argparse.Namespace) -> None:
    from edit_lit.analysis.sweep_report import SweepOptions
    from edit_lit.cli.verbs import holds_sweep, report, report_of_sweep
    from edit_lit.measures.scores import Rule

    given = {name: getattr(options, name) for name in _OF_SWEEPS}
    if holds_sweep(options.runs) is not None:
        report_of_sweep(options.runs, SweepOptions(Rule(options.rule), **given), options.output)
        return
    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"--{name} is {value!r}, but {options.runs[0]} holds no trials.json, so it is no sweep. Leave it out, "
                "or name the folder of a sweep."
            )
    report(options.runs, options.rule, options.output)


def _print_completion() -> None:
    from edit_lit.cli.completion import bash_completion
    from edit_lit.cli.detect import option_names as of_detect
    from edit_lit.cli.erase import option_names as of_erase
    from edit_lit.cli.options import option_names
    from edit_lit.cli.verify import option_names as of_verify

    names = {verb: option_names(verb) for verb in LIGHTNING_VERBS}
    names |= {"erase": of_erase(), "verify": of_verify(), "detect": of_detect()}
    listed = {verb: [f"--{name}" for name in of_verb] for verb, of_verb in names.items()}
    print(bash_completion({**listed, **_OWN_OPTIONS}))


def main(args: Sequence[str] | None = None) -> None:
    """Run a verb.

    Args:
        args: The command line without the program; the process's own if not given.
    """
    set_up_messages()
    try:
        _run(args)
    except KeyboardInterrupt:
        # As shells count the processes that Ctrl-C ended.
        sys.exit(130)
    except Exception as error:
        mistake = mistake_behind(error)
        if mistake is None:
            raise
        raise Refused(str(mistake)) from None
