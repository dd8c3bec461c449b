"""What is known of the judges: who they are, how they did on labelled texts, and how far two of them agree."""

from __future__ import annotations

from collections.abc import Mapping

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import NOTHING, list_at, object_at, text_at, value_at
from llm_repair.evaluation.report.records import SIDES
from llm_repair.evaluation.report.sources import Sources


def judges_json(sources: Sources) -> Mapping[str, Json]:
    """Returns `judges` of `report.json`."""
    gating, pool = text_at(sources.dossier, "gating_judge"), value_at(sources.dossier, "pool_judge")
    about = sources.evaluations.get("repaired") or sources.evaluations.get("base", NOTHING)
    comparison = sources.comparisons.get("repaired", NOTHING)
    agreement = object_at(comparison, "agreement")
    return {
        "gating": gating,
        "pool": pool,
        "gating_judge_made_the_pairs": bool(gating) and gating == pool,
        "all": list_at(about, "judges"),
        "calibration": list_at(comparison, "calibration"),
        "agreement": [
            {"judge": judge, "side": side, **found}
            for judge, sides in agreement.items()
            for side in SIDES
            if (found := object_at(sides, side))
        ],
    }
