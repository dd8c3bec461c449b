"""Why a number is missing, in plain words: the gate's reasons and the report say the same."""

from __future__ import annotations

_IN_WORDS = {
    "NOT_MEASURED": "not measured",
    "NO_BASELINE": "there is no baseline to compare with",
    "COMPARES_MODELS": "compares models, so one side alone has none",
    "ZERO_BASELINE": "undefined, because the base value is zero",
    "NO_FULL_ARM": "needs an arm repaired on the whole pool, which was not run",
    "ZERO_FULL_SCORE": "undefined, because the repair on the whole pool scored zero",
    "NO_CORPUS": "needs a corpus for perplexity",
    "NO_TIME": "no time was recorded",
    "NO_CHECKPOINT_TIME": "the time of writing checkpoints was not recorded",
    "TOO_MANY_MISSING_SCORES": "too many outputs without a judge score",
    "NO_DATA": "no data",
    "NO_PROMPT_SCORES": "the prompts themselves were not scored",
    "NO_VARIATION": "it is the same for every unit, so nothing tells how far it might vary",
    "CONSTANT_SCORES": "undefined, because a judge gave the same score to all",
    "CONSTANT_VERDICTS": "undefined, because a judge called all or none toxic",
    "ONE_CLASS_ONLY": "all labelled texts are of one kind, toxic or clean",
    "NOT_FINITE": "not a finite number",
    "TOO_FEW_UNITS": "too few units, such as prompts or documents",
    "UNDEFINED_IN_RESAMPLES": "undefined in some resamples",
    "EMPTY_INTERSECTION": "the looks contradict each other, so the order of the prompts was not random",
}


def in_words(reason: str) -> str:
    """Returns what a `Missing.reason` says, without a full stop; one that is not known here is spelt out."""
    return _IN_WORDS.get(reason, reason.replace("_", " ").lower())
