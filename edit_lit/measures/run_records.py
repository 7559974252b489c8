"""The records of one run: never over those of another, and continued where the run is resumed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pyarrow import ArrowException

from edit_lit.facts.request import EditRequest
from edit_lit.measures import answers as in_words
from edit_lit.measures.curve import BEFORE_EDIT
from edit_lit.measures.outcome_files import copy_probes, drop_probes, read_probe, recorded_steps, write_probe
from edit_lit.measures.outcomes import Outcomes, Pool
from edit_lit.measures.question_files import FILE, AskedQuestion, write_questions
from edit_lit.utilities import distributed
from edit_lit.utilities.errors import ConfigError

log = logging.getLogger(__name__)

Answers = Mapping[Pool, Outcomes]


class RunRecords:
    """The records of one run on disk, which the first of several processes writes.

    Outcomes have their place in ``folder``; what was asked, and what was answered in words, theirs beside it.

    Args:
        folder: The folder of the outcomes; none to keep no records.
        requests: The pools' facts.
        questions: What they are asked, which is written once.
    """

    def __init__(
        self,
        folder: Path | None,
        requests: Mapping[Pool, Sequence[EditRequest]],
        questions: Mapping[Pool, Sequence[AskedQuestion]],
    ) -> None:
        self.folder = folder.absolute() if folder is not None else None
        self._requests = requests
        self._questions: Mapping[Pool, Sequence[AskedQuestion]] | None = questions
        self._ours = False
        self._drop_behind: int | None = None

    def may_write(self) -> bool:
        """Whether nobody else's records are there."""
        return self.folder is not None and (self._ours or not distributed.at_first_process(lambda: bool(self._steps())))

    def write(self, step: int, answers: Answers) -> None:
        """Write the outcomes of one probe.

        Raises:
            ConfigError: If the folder holds another run's records.
        """
        if self.folder is None or not answers:
            return
        if not self.may_write():
            raise ConfigError(_OCCUPIED.format(folder=self.folder))
        self._ours = True
        if distributed.rank() == 0:
            if self._drop_behind is not None:
                for folder in (self.folder, _in_words(self.folder)):
                    drop_probes(folder, self._drop_behind)
            self._drop_behind = None
            if self._questions is not None:
                write_questions(self.folder.with_name(FILE), self._questions)
            self._questions = None
            write_probe(self.folder, step, answers, self._requests)

    def write_words(self, step: int, words: in_words.Answers) -> None:
        """Write in words what was answered to a probe whose outcomes are written."""
        if self.folder is not None and self._ours and words and distributed.rank() == 0:
            in_words.write_answers(_in_words(self.folder), step, words, self._requests)

    def take_up(self, kept: Mapping[int, Answers], last_step: int, places: Iterable[Path]) -> bool:
        """Continue the records of the run that is resumed, which are brought here if they are elsewhere.

        Those from behind the checkpoint are removed when the first new one is written, and not before: a run that was
        finished writes none.

        Args:
            kept: Outcomes by step that the checkpoint holds. They tell the run's records from another's, and are
                written if these are lost.
            last_step: The last step that the checkpoint knows.
            places: Where the records may be, beside this folder itself.

        Returns:
            Whether the run continues in its own folder.

        Raises:
            ConfigError: If this folder holds another run's records.
        """
        if self.folder is None:
            return False
        own = distributed.at_first_process(lambda: self._take_up(kept, last_step, places))
        self._ours = True
        return own

    def _take_up(self, kept: Mapping[int, Answers], last_step: int, places: Iterable[Path]) -> bool:
        assert self.folder is not None
        own = _are_of(self.folder, kept)
        if own:
            self._drop_behind = last_step
            return True
        # What was asked before the edit, just now, is no part of a curve.
        if any(step > BEFORE_EDIT or not self._ours for step in self._steps()):
            raise ConfigError(_OCCUPIED.format(folder=self.folder))
        source = next((place for place in places if _are_of(place, kept)), None)
        if source is not None:
            copy_probes(_in_words(source), _in_words(self.folder), last_step)
            copy_probes(source, self.folder, last_step)
            return False
        warnings.warn(
            "the records of the run that is resumed are neither beside its checkpoint nor where they were written; "
            f"of its steps up to {last_step} only {', '.join(_names(kept))} are known. "
            "Resume from a checkpoint in the run's own folder to have all of them.",
            stacklevel=2,
        )
        for step, answers in kept.items():
            write_probe(self.folder, step, answers, self._requests)
        return False

    def _steps(self) -> list[int]:
        return recorded_steps(self.folder) if self.folder is not None else []


_OCCUPIED = (
    "{folder} holds the records of another run, which would be mixed with this one's. "
    "Choose another folder for this run, resume that run, or move its records away."
)


def _in_words(folder: Path) -> Path:
    """Where the answers in words are that belong to a folder of outcomes."""
    return folder.with_name(in_words.FOLDER)


def _are_of(folder: Path, kept: Mapping[int, Answers]) -> bool:
    """Whether a folder holds all that a checkpoint knows, unchanged."""
    try:
        return all(_same(read_probe(folder, step), answers) for step, answers in kept.items())
    except (OSError, ArrowException, KeyError, ValueError) as error:
        log.debug("%s does not hold the records of the run that is resumed: %s", folder, error)
        return False


def _same(first: Answers, second: Answers) -> bool:
    return set(first) == set(second) and all(first[pool].equals(second[pool]) for pool in first)


def _names(steps: Iterable[int]) -> list[str]:
    return ["the unedited model" if step == BEFORE_EDIT else f"step {step}" for step in sorted(steps)]
