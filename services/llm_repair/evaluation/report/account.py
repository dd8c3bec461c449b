"""What the page says in words: what was repaired and how, how it was measured, and what it does not show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import (
    JsonObject,
    list_at,
    number_at,
    object_at,
    objects_at,
    text_at,
    value_at,
)

_ACRONYMS = {
    "Dpo": "DPO",
    "Dapt": "DAPT",
    "DaptKl": "DAPT with KL",
    "Irepair": "IRepair",
    "IrepairKl": "IRepair with KL",
    "Kto": "KTO",
    "Saps": "SAPS",
    "KCenter": "K-Center",
    "Grand": "GraNd",
    "El2n": "EL2N",
    "Ccs": "CCS",
}


_METHODS = {
    "Dpo": "learns to prefer the harmless of two continuations",
    "Dapt": "learns from harmless continuations alone",
}
_STRATEGIES = {
    "saps": "samples at the edges of clusters of similar meaning",
    "random": "chosen at random",
    "full": "the whole pool",
    "k_center": "samples as different from each other as possible",
    "cluster_random": "chosen at random within clusters of similar meaning",
}


@dataclass(frozen=True)
class Fact:
    """A name with its value; `detail` is shown on demand, such as a whole digest."""

    name: str
    value: str
    detail: str = ""


def strategy_name(strategy: str) -> str:
    """Returns the name of a strategy as it is written in papers: upper case but for the few that are names."""
    return strategy.replace("_", " ").upper()


def summary_facts(document: JsonObject) -> tuple[Fact, ...]:
    """Returns what was asked for, in five lines."""
    spec = object_at(document, "repair", "spec")
    selection = object_at(document, "selection")
    method = object_at(spec, "method")
    facts = [
        Fact("Model", text_at(spec, "model", "reference")),
        Fact("Repair samples", _samples(document)),
        Fact("Selected by", _strategy(text_at(selection, "strategy"))),
        Fact("Repair method", _method(method)),
        Fact("Measured on", measured_on(document)),
    ]
    return tuple(fact for fact in facts if fact.value)


def measured_on(document: JsonObject) -> str:
    """Returns the size of the measurement."""
    prompts = number_at(document, "provenance", "n_prompts")
    draws = number_at(document, "provenance", "draws")
    if prompts is None:
        return ""
    outputs = f", {draws:.0f} output{'' if draws == 1 else 's'} each" if draws else ""
    return f"{formats.whole(prompts)} prompts{outputs}"


def power_note(document: JsonObject) -> str:
    """Says how small a fall of mean toxicity this measurement could have shown."""
    effect = number_at(document, "provenance", "minimum_detectable_effect", "toxicity.mean")
    if effect is None:
        return ""
    return (
        f"A measurement of this size shows a fall of mean toxicity of {formats.decimal(effect, 3)} in four of five "
        "cases; more prompts would show smaller ones."
    )


def resource_facts(document: JsonObject) -> tuple[Fact, ...]:
    """Returns what the steps of this repair used; reused steps used nothing."""
    usage, timing = object_at(document, "usage"), object_at(document, "timing")
    writers = (
        ("From start to end", number_at(timing, "wall_s"), formats.duration),
        ("of which a step was at work", number_at(timing, "execution_s"), formats.duration),
        ("Accelerator time", number_at(usage, "accelerator_s") or None, formats.duration),
        ("Processor time", number_at(usage, "cpu_s"), formats.duration),
        ("Tokens, made or read", number_at(usage, "tokens"), formats.whole),
        ("Largest memory", number_at(usage, "peak_memory_bytes") or None, formats.size),
        ("Written", number_at(usage, "written_bytes"), formats.size),
    )
    return tuple(Fact(name, write(value)) for name, value, write in writers if value is not None)


def protocol_paragraphs(document: JsonObject) -> tuple[str, ...]:
    """Explains in words how the numbers were made."""
    made = [
        f"Protocol {text_at(document, 'provenance', 'protocol')}.",
        _sampling(_protocol(document)),
        f"Brackets hold {confidence(document)} confidence intervals. Their unit is the whole prompt (for "
        "perplexity, the whole document), never the single output, because outputs to one prompt resemble each other.",
        "A change is called better or worse only where its interval leaves out no change.",
    ]
    return tuple(sentence for sentence in made if sentence)


def limits(document: JsonObject) -> tuple[str, ...]:
    """Returns what this report cannot show, in plain words."""
    gating = text_at(document, "judges", "gating")
    prompts = number_at(document, "provenance", "n_prompts")
    said = [
        "The model was trained once. All numbers are conditional on this training run: another seed would give "
        "somewhat other values, and the intervals do not cover that.",
        "Judges are programs. "
        + ("The judge profanity reacts mostly to swear words and " if gating == "profanity" else f"The judge {gating} ")
        + "misses insults and stereotypes that are politely phrased.",
    ]
    if prompts is not None:
        said.append(
            f"{formats.whole(prompts)} prompts were measured. Rare kinds of harm, seen in one prompt of a hundred, "
            "cannot be counted reliably with so few."
        )
    said.append(
        "Many measures are shown. The criteria alone decide; among the others some will leave out no change by chance, "
        "about one in twenty where nothing happened."
    )
    corpora = objects_at(document, "repair", "spec", "evaluation", "corpora")
    if corpora:
        said.append(
            "Perplexity says whether ordinary text still reads as likely. It does not test skills such as "
            "arithmetic or following instructions."
        )
    said.append(_overlap(document))
    return tuple(sentence for sentence in said if sentence)


def judge_notes(document: JsonObject) -> tuple[str, ...]:
    """Says which judge made the training pairs, and how the second judge relates to the first."""
    made_pairs = value_at(document, "judges", "gating_judge_made_the_pairs") is True
    correlations = object_at(document, "judges", "correlations")
    if not correlations:
        first = "The gating judge also made the training pairs, and no" if made_pairs else "No"
        return (f"{first} second judge was run: whether another judge sees the effect is not known.",)
    notes = ["The gating judge also made the training pairs; the second judge did not."] if made_pairs else []
    for judge in correlations:
        found = number_at(correlations, judge)
        measured = f" ({formats.decimal(found, 2)} on the outputs before the repair)" if found is not None else ""
        notes.append(
            f"The scores of {judge} correlate with those of {text_at(document, 'judges', 'gating')}{measured}, so the "
            "two are not independent: agreement supports the result, but does not prove it."
        )
    return (*notes, "The second judge is shown for comparison and has no part in the verdict.")


def confidence(document: JsonObject) -> str:
    """Returns the confidence of the intervals, in percent."""
    return formats.percent(number_at(document, "provenance", "confidence") or 0.95)


def provenance_facts(document: JsonObject) -> tuple[Fact, ...]:
    """Returns digests (short, the whole one on demand), seeds and versions."""
    facts = [Fact("Protocol", text_at(document, "provenance", "protocol"))]
    seed = value_at(document, "provenance", "seed")
    facts += [Fact("Seed", str(seed))] if seed is not None else []
    weights = object_at(document, "provenance", "weights")
    facts += [
        _digest_fact("Repaired weights" if role == "repaired" else f"Weights of the {role} arm", text_at(weights, role))
        for role in weights
    ]
    facts.append(_digest_fact("Pool", text_at(document, "provenance", "pool")))
    facts += [
        _digest_fact(f"Evaluation, {role}", text_at(found, "digest"))
        for role, found in object_at(document, "provenance", "evaluations").items()
    ]
    references = object_at(document, "provenance", "references")
    facts += [_digest_fact(name, text_at(references, name)) for name in references]
    facts += _environment(object_at(document, "provenance", "environment"))
    return tuple(fact for fact in facts if fact.value)


def _samples(document: JsonObject) -> str:
    delivered = number_at(document, "selection", "summary", "delivered")
    pool = number_at(document, "selection", "summary", "pool") or number_at(document, "pool", "summary", "pairs")
    if delivered is None:
        return ""
    if not pool:
        return formats.whole(delivered)
    return f"{formats.whole(delivered)} of {formats.whole(pool)} in the pool ({formats.percent(delivered / pool)})"


def _strategy(strategy: str) -> str:
    explained = _STRATEGIES.get(strategy.lower(), "")
    return strategy_name(strategy) + (f": {explained}" if explained else "")


def _method(method: JsonObject) -> str:
    kind = text_at(method, "objective", "type").removesuffix("Method")
    name = _ACRONYMS.get(kind, kind)
    if not name:
        return ""
    trainable = object_at(method, "trainable")
    if text_at(trainable, "type") == "LoraParameters":
        where = f"LoRA adapters of rank {number_at(trainable, 'rank') or 0:.0f}, merged"
    else:
        where = _layers(trainable)
    epochs = number_at(method, "epochs")
    explained = f" ({_METHODS[kind]})" if kind in _METHODS else ""
    return f"{name}{explained} on {where}" + (f", {epochs:.0f} epochs" if epochs else "")


def _layers(trainable: JsonObject) -> str:
    top, share = number_at(trainable, "top_layers"), number_at(trainable, "top_share")
    if listed := list_at(trainable, "layers"):
        return f"layers {', '.join(str(layer) for layer in listed)}"
    if share:
        return f"the last {formats.percent(share)} of the layers"
    return f"the last {top:.0f} layers" if top else "all parameters"


def _protocol(document: JsonObject) -> JsonObject:
    return object_at(document, "repair", "spec", "evaluation", "protocol", "kind")


def _sampling(protocol: JsonObject) -> str:
    match text_at(protocol, "type"):
        case "StrictProtocol":
            draws, tokens = number_at(protocol, "draws") or 0, number_at(protocol, "max_new_tokens") or 0
            top_p, temperature = number_at(protocol, "top_p") or 0, number_at(protocol, "temperature") or 0
            return (
                f"Every prompt was continued {draws:.0f} times by up to {tokens:.0f} tokens, drawn at random as in "
                f"normal use (nucleus sampling, p {top_p:g}, temperature {temperature:g}). Both models used the same "
                "random numbers, so every change compares like with like, prompt by prompt."
            )
        case "PaperProtocol":
            return (
                "Every prompt, cut to 32 tokens, was continued once by up to 20 tokens, always taking the likeliest "
                "one. That shows one output per prompt, not how often a toxic one occurs in normal use."
            )
        case _:
            return ""


def _overlap(document: JsonObject) -> str:
    shared = number_at(document, "pool", "overlap", "shared")
    if shared is None:
        return "Whether prompts of the pool occur among the evaluation prompts was not checked."
    if shared:
        return f"{formats.whole(shared)} evaluation prompts also occur in the pool, which flatters the result."
    return "No evaluation prompt occurs in the pool (compared after normalising case and spaces)."


def _digest_fact(name: str, digest: str) -> Fact:
    is_long = bool(re.fullmatch(r"(sha256:)?[0-9a-f]{20,}", digest))
    return Fact(name, formats.digest(digest) if is_long else digest, digest if is_long else "")


def _environment(environment: JsonObject) -> list[Fact]:
    facts: list[Fact] = []
    for key, value in environment.items():
        if key in ("start", "end", "attempt", "seed"):
            continue
        written = _flat(value)
        if written:
            facts.append(Fact(key.replace("_", " ").capitalize(), written))
    return facts


def _flat(value: Json) -> str:
    match value:
        case None:
            return ""
        case str() | int() | float():
            return str(value)
        case Mapping():
            return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
        case _:
            return ", ".join(_flat(item) for item in list_at({"items": value}, "items"))
