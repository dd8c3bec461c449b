"""Whether two evaluations were served different weights: the likelihoods of the same fixed texts."""

from __future__ import annotations

from collections.abc import Mapping

from llm_repair.core.errors import AdapterNotApplied
from llm_repair.core.execution import Json
from llm_repair.evaluation.metrics.measurement import Measurement


def refuse_equal_weights(base: Measurement, repaired: Measurement) -> None:
    """Passes two models of different weights that say different things of the fixed texts, and a model against itself.

    Equal to the last bit is what the same weights are: whatever was changed in them moves some of twenty texts.

    Raises:
      AdapterNotApplied: the weights are different ones, but those that were served are not.
    """
    ours, theirs = _weights(base), _weights(repaired)
    pairs = list(zip(base.fingerprint, repaired.fingerprint, strict=False))
    # Number by number, since one that is none is not equal to itself.
    if ours and theirs and ours != theirs and pairs and all(before.nll == after.nll for before, after in pairs):
        raise AdapterNotApplied(
            "the repaired model has other weights, but was served with those of the base: all fixed texts are exactly "
            "as likely as before",
            texts=len(pairs),
        )


def fingerprint_to_json(base: Measurement, repaired: Measurement) -> dict[str, Json]:
    """Returns {weights_differ, texts, mean_nll_change, largest_nll_change}.

    The changes are of |nll| per token, over the fixed texts, nats; null where a text has no likelihood on one side or
    none was asked for. `weights_differ` is null where a side does not name its weights.
    """
    pairs = list(zip(base.fingerprint, repaired.fingerprint, strict=False))
    changes = [abs(after.nll / after.tokens - before.nll / before.tokens) for before, after in pairs if before.tokens]
    known = bool(changes) and all(change < float("inf") for change in changes)  # False for NaN too
    ours, theirs = _weights(base), _weights(repaired)
    return {
        "weights_differ": ours != theirs if ours and theirs else None,
        "texts": len(pairs),
        "mean_nll_change": sum(changes) / len(changes) if known else None,
        "largest_nll_change": max(changes) if known else None,
    }


def _weights(measurement: Measurement) -> str:
    model = measurement.about.get("model")
    digest = model.get("weights_digest") if isinstance(model, Mapping) else ""
    return digest if isinstance(digest, str) else ""
