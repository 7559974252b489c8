"""The columns of the regression: covariates and intercepts, without those that the others determine.

A column that is a sum of multiples of others has no coefficient of its own: a fit would share the effect out among them
by its algorithm, without a word.

Legend: R rows, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edit_lit.analysis.person_probes import NEGLIGIBLE, Codes, PersonProbes, Values

_DETERMINED = "determined by the covariates above it, the interval and the arm"


@dataclass(frozen=True)
class Design:
    """Columns that are chosen by one table, for it and for others.

    Args:
        intervals: The intervals that have an intercept.
        arms: The arms; all but the first have one.
        intercepts_C: Which of these intercepts the ones before them do not determine.
        covariates_C: Which covariates the intercepts and the covariates before them do not determine.
    """

    intervals: Codes
    arms: Codes
    intercepts_C: NDArray[np.bool_]
    covariates_C: NDArray[np.bool_]

    @classmethod
    def of(cls, table: PersonProbes) -> Design:
        """The columns that a table tells apart; covariates that come first go before others."""
        intervals, arms = np.unique(table.interval_R), np.unique(table.arm_R)
        intercepts = table.intercepts(intervals, arms)
        independent = independent_columns(np.concatenate([intercepts, table.covariates_RC], axis=1))
        count = intercepts.shape[1]
        return cls(intervals, arms, independent[:count], independent[count:])

    def columns(self, table: PersonProbes) -> tuple[Values, Values]:
        """The columns with the covariates, which come first, and those without them, of any table."""
        intercepts = table.intercepts(self.intervals, self.arms)[:, self.intercepts_C]
        return np.concatenate([table.covariates_RC[:, self.covariates_C], intercepts], axis=1), intercepts

    def knows(self, table: PersonProbes) -> NDArray[np.bool_]:
        """The rows of a table whose interval and arm have been seen, [R]."""
        known_R: NDArray[np.bool_] = np.isin(table.interval_R, self.intervals) & np.isin(table.arm_R, self.arms)
        return known_R


def well_posed(table: PersonProbes) -> PersonProbes:
    """A table without covariates that those before them determine, together with the intercepts.

    Args:
        table: Facts at risk, as :meth:`PersonProbes.informative` gives them.
    """
    if not len(table):
        return table
    return table.only(Design.of(table).covariates_C, _DETERMINED)


def independent_columns(columns_RC: Values) -> NDArray[np.bool_]:
    """Whether each column is more than a sum of multiples of those before it, [C].

    What is left of a column beside them (Gram and Schmidt, twice) counts as nothing if it is as small as rounding: a
    hundred-thousandth of the column.

    Examples:
        >>> independent_columns(np.array([[1.0, 0.1, 1.3], [1.0, 0.2, 1.6], [1.0, 0.4, 2.2]])).tolist()
        [True, True, False]
    """
    count = columns_RC.shape[1]
    basis_RC = np.empty_like(columns_RC, order="F")
    independent_C = np.zeros(count, dtype=bool)
    for place in range(count):
        found_RB = basis_RC[:, : independent_C.sum()]
        rest_R = columns_RC[:, place]
        for _ in range(2):
            rest_R = rest_R - found_RB @ (found_RB.T @ rest_R)
        size = np.linalg.norm(rest_R)
        if size > NEGLIGIBLE * np.linalg.norm(columns_RC[:, place]):
            basis_RC[:, found_RB.shape[1]] = rest_R / size
            independent_C[place] = True
    return independent_C
