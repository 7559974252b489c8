"""What was found, with every number, as JSON knows it."""

from __future__ import annotations

import math

from edit_lit.detection.detection import Finding
from edit_lit.detection.flags import Judged, PromptsFinding
from edit_lit.detection.weights import WeightsFinding, tenth
from edit_lit.facts.request import fact_hash


def record(finding: Finding) -> dict[str, object]:
    """Every number, of what JSON knows."""
    return {
        "weights": _weights_record(finding.weights),
        "difference": None if finding.difference is None else _weights_record(finding.difference),
        "prompts": None if finding.prompts is None else _prompts_record(finding.prompts),
    }


def _weights_record(found: WeightsFinding) -> dict[str, object]:
    calibration = found.calibration
    return {
        "verdict": str(found.verdict),
        "most": found.most,
        "alarm_rate": found.alarm_rate,
        "p": None if calibration is None else calibration.p,
        "unedited": [] if calibration is None else list(calibration.names),
        "unedited_that_stand_out_as_much": None if calibration is None else calibration.alarms,
        "interval": None if calibration is None else list(calibration.interval),
        "changed": list(found.changed) if found.difference is not None else None,
        "changed_elsewhere": list(found.difference.elsewhere) if found.difference is not None else None,
        "layers": [_layer_record(found, layer) for layer in range(len(found.spectra))],
    }


def _layer_record(found: WeightsFinding, layer: int) -> dict[str, object]:
    spectrum = found.spectra[layer]
    return {
        "layer": layer,
        "relative_norm": None if found.difference is None else found.difference.relative[layer],
        "leading": _number(spectrum.leading),
        "share_of_a_tenth": _number(spectrum.share(tenth(spectrum))),
        "effective_rank": spectrum.effective_rank,
        "row_kurtosis": _number(spectrum.row_kurtosis) if found.difference is None else None,
        "factor": _number(found.factors[layer]),
        "factor_within": _number(found.within_L[layer]),
        "singular_values": spectrum.values_R.tolist(),
    }


def _prompts_record(found: PromptsFinding) -> dict[str, object]:
    groups = {"questioned": found.questioned, "edited": found.edited, "held_out": found.held_out}
    return {
        "alarm_rate": found.alarm_rate,
        "bounds": list(found.usual.bounds(found.threshold)),
        "calibrating": found.calibrating,
        "p": found.p,
        "auc": found.auc,
        **{name: None if judged is None else _judged_record(judged) for name, judged in groups.items()},
    }


def _judged_record(judged: Judged) -> dict[str, object]:
    facts = [
        {
            "fact": fact_hash(request),
            "id": request.id,
            "subject": request.subject,
            "question": request.question,
            "says": judged.behavior.says[place],
            "entropy": float(judged.behavior.entropy_F[place]),
            "disagreement": float(judged.behavior.disagreement_F[place]),
            "p": judged.p[place],
            "looks_edited": judged.flagged[place],
        }
        for place, request in enumerate(judged.requests)
    ]
    low, high = judged.interval
    counts = {"number": len(facts), "look_edited": judged.count, "share": judged.share, "low": low, "high": high}
    return {**counts, "of": facts}


def _number(value: float) -> float | None:
    """A number as JSON knows it: nothing for NaN and infinity."""
    return value if math.isfinite(value) else None
