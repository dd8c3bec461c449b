"""Whether a comparison is what it claims to be: other weights, same prompts, same noise, nothing learnt by heart.

Each check holds, fails or is not known, with the evidence beside it. What cannot be told is never said to hold.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm_repair.core.execution import Json
from llm_repair.evaluation.report.json_access import JsonObject, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.sources import Sources


class State(enum.Enum):
    """The outcome of a check."""

    HOLDS = "HOLDS"
    FAILS = "FAILS"
    UNKNOWN = "UNKNOWN"
    """What it needs was not recorded."""


@dataclass(frozen=True)
class Check:
    """One check with its evidence."""

    name: str
    """UPPER_SNAKE."""
    state: State
    evidence: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def as_json(self) -> dict[str, Json]:
        """Returns the entry of `checks`."""
        return {"name": self.name, "state": self.state.value, "evidence": dict(self.evidence)}


def checks(sources: Sources) -> tuple[Check, ...]:
    """Returns the checks of a report with two sides; none of a model measured alone but that of the prompts learnt."""
    found: list[Check] = []
    if "base" in sources.evaluations and "repaired" in sources.evaluations:
        base, repaired = sources.evaluations["base"], sources.evaluations["repaired"]
        found += [
            _different("WEIGHTS_DIFFER", _weights(base), _weights(repaired)),
            _served(sources),
            _equal("SAME_PROMPTS", text_at(base, "prompts_digest"), text_at(repaired, "prompts_digest")),
            _equal("SAME_SAMPLING", text_at(base, "sampling_digest"), text_at(repaired, "sampling_digest")),
            _alike("SAME_JUDGES", base, repaired, ("judges",)),
            _alike("SAME_PROTOCOL", base, repaired, ("protocol", "engine", "seed", "draws", "max_new_tokens")),
        ]
    return tuple(found)


def contamination(sources: Sources) -> Json:
    """Returns what the search for evaluation prompts in the pool found; null where nothing was trained.

    {pool_prompts, evaluation_prompts, shared, equal, near, near_reason}, as the `overlap` step leaves it; whatever was
    not looked for is null.
    """
    if not object_at(sources.dossier, "pool"):
        return None
    found = sources.overlap
    return {
        **{name: found.get(name) for name in ("pool_prompts", "evaluation_prompts", "shared", "equal", "near")},
        "near_reason": text_at(found, "near_reason") or (None if object_at(found, "near") else "NOT_MEASURED"),
    }


def warnings(sources: Sources) -> list[Json]:
    """Returns what the evaluations warn of, each with the side it is about; what all sides say alike stands once."""
    said: dict[str, list[JsonObject]] = {}
    for role, about in sources.evaluations.items():
        if role in ("base", "repaired"):
            cut = number_at(about, "prompts_cut")
            said[role] = [*([{"kind": "PROMPTS_CUT", "prompts": cut}] if cut else []), *objects_at(about, "warnings")]
    shared = [warning for warning in said.get("repaired", []) if warning in said.get("base", [])]
    found: list[Json] = [{**warning, "side": "both"} for warning in shared]
    for role, warned in said.items():
        found += [{**warning, "side": role} for warning in warned if warning not in shared]
    return found


def _weights(about: JsonObject) -> str:
    return text_at(about, "model", "weights_digest")


def _different(name: str, base: str, repaired: str) -> Check:
    if not base or not repaired:
        return Check(name, State.UNKNOWN, _sides(base, repaired))
    return Check(name, State.FAILS if base == repaired else State.HOLDS, _sides(base, repaired))


def _equal(name: str, base: str, repaired: str) -> Check:
    if not base or not repaired:
        return Check(name, State.UNKNOWN, _sides(base, repaired))
    return Check(name, State.HOLDS if base == repaired else State.FAILS, _sides(base, repaired))


def _sides(base: str, repaired: str) -> dict[str, Json]:
    return {"base": base or None, "repaired": repaired or None}


def _alike(name: str, base: JsonObject, repaired: JsonObject, fields: Sequence[str]) -> Check:
    if not all(field in base and field in repaired for field in fields):
        return Check(name, State.UNKNOWN)
    differ = [field for field in fields if base[field] != repaired[field]]
    return Check(name, State.FAILS if differ else State.HOLDS, {"differ": list(differ)})


def _served(sources: Sources) -> Check:
    """Goes by the likelihoods of the fixed probe texts: what was served, whatever the digests say."""
    name = "SERVED_WEIGHTS_DIFFER"
    found = object_at(sources.comparisons.get("repaired"), "fingerprint")
    largest = number_at(found, "largest_nll_change")
    if largest is None:
        return Check(name, State.UNKNOWN)
    evidence = {part: found.get(part) for part in ("texts", "mean_nll_change", "largest_nll_change")}
    return Check(name, State.HOLDS if largest > 0 else State.FAILS, evidence)
