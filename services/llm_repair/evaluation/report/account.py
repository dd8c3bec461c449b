"""What the page says of the request in words: what was asked for, how it was measured, where everything came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import (
    JsonObject,
    list_at,
    number_at,
    object_at,
    text_at,
    value_at,
)
from llm_repair.evaluation.report.occasion import Occasion

_ACRONYMS = {
    "Dpo": "DPO",
    "Dapt": "DAPT",
    "DaptKl": "DAPT with KL",
    "Irepair": "IRepair",
    "IrepairKl": "IRepair with KL",
    "Kto": "KTO",
    "Exmate": "ExMATE",
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
    """A name with its value."""

    name: str
    value: str
    is_code: bool = False
    """Whether the value is a digest or a reference."""


def strategy_name(strategy: str) -> str:
    """Returns the name of a strategy as it is written in papers: upper case but for the few that are names."""
    return strategy.replace("_", " ").upper()


def summary_facts(document: JsonObject, occasion: Occasion) -> tuple[Fact, ...]:
    """Returns what was asked for, in a few lines."""
    spec = object_at(document, "repair", "spec")
    selection = object_at(document, "selection")
    facts = [Fact("Model", text_at(spec, "model", "reference"), is_code=True)]
    if occasion.is_repair:
        facts += [
            Fact("Repair samples", _samples(document)),
            Fact("Selected by", _strategy(text_at(selection, "strategy"))),
            Fact("Repair method", _method(object_at(spec, "method"))),
        ]
    else:
        facts.append(Fact("Baseline", text_at(spec, "baseline", "reference"), is_code=True))
    facts.append(Fact("Measured on", measured_on(document)))
    facts.append(Fact("Gating judge", text_at(document, "judges", "gating")))
    return tuple(fact for fact in facts if fact.value)


def measured_on(document: JsonObject) -> str:
    """Returns the size of the measurement."""
    prompts = number_at(document, "provenance", "n_prompts")
    draws = number_at(document, "provenance", "draws")
    if prompts is None:
        return ""
    outputs = f", {formats.count_of(draws, 'output')} each" if draws else ""
    protocol = text_at(document, "provenance", "protocol")
    return f"{formats.count_of(prompts, 'prompt')}{outputs}" + (f", protocol {protocol}" if protocol else "")


def protocol_sentences(document: JsonObject, occasion: Occasion) -> tuple[str, ...]:
    """Explains in words how the numbers were made."""
    protocol = text_at(document, "provenance", "protocol")
    made = [
        f"Protocol {protocol}." if protocol else "",
        _sampling(object_at(document, "repair", "spec", "evaluation", "protocol", "kind"), occasion),
        f"Brackets hold {confidence(document)} confidence intervals. Their unit is the whole prompt (for "
        "perplexity, the whole document), never the single output, because outputs to one prompt resemble each other.",
        "A change is called better or worse only where its interval leaves out no change." if occasion.has_base else "",
        _bootstrap(document),
    ]
    return tuple(sentence for sentence in made if sentence)


def confidence(document: JsonObject) -> str:
    """Returns the confidence of the intervals, in percent."""
    share = number_at(document, "provenance", "confidence") or 0.95
    return formats.percent(share, 0 if round(share * 100, 6) % 1 == 0 else 1)


def provenance_facts(document: JsonObject, occasion: Occasion) -> tuple[Fact, ...]:
    """Returns digests, seeds and versions."""
    provenance = object_at(document, "provenance")
    seed = value_at(provenance, "seed")
    facts = [Fact("Protocol", text_at(provenance, "protocol")), Fact("Seed", "" if seed is None else str(seed))]
    weights = object_at(provenance, "weights")
    facts += [Fact(_weights_of(role, occasion), text_at(weights, role), is_code=True) for role in weights]
    facts.append(Fact("Pool", text_at(provenance, "pool"), is_code=True))
    evaluations = object_at(provenance, "evaluations")
    for role, found in evaluations.items():
        facts.append(Fact(f"Evaluation, {role}", text_at(found, "digest"), is_code=True))
    facts += _measured_by(object_at(next(iter(evaluations.values()), None), "about"))
    references = object_at(provenance, "references")
    facts += [Fact(name, text_at(references, name), is_code=True) for name in references]
    facts += _environment(object_at(provenance, "environment"))
    return tuple(fact for fact in facts if fact.value)


def _weights_of(role: str, occasion: Occasion) -> str:
    return f"Weights of the {occasion.repaired}" if role == "repaired" else f"Weights of the {role} arm"


def _measured_by(about: JsonObject) -> list[Fact]:
    """Returns with what the evaluations were made; equal on all sides, or they could not have been compared."""
    engine = object_at(about, "engine")
    written = ", ".join(part for part in (text_at(engine, "kind"), text_at(engine, "weights")) if part)
    window, stride = number_at(about, "window_tokens"), number_at(about, "stride_tokens")
    facts = [
        Fact("Engine", written.lower() or text_at(about, "engine").lower()),
        Fact("Prompts", text_at(about, "prompts_digest"), is_code=True),
        Fact("Sampling", text_at(about, "sampling_digest"), is_code=True),
        Fact("Perplexity window", _window(window, stride)),
        Fact("Judge of swear words", text_at(about, "slice_judge", "digest"), is_code=True),
    ]
    for kind, title in (("corpora", "Corpus"), ("cloze_sets", "Cloze set"), ("bias_pairs", "Bias pairs")):
        for name, found in object_at(about, kind).items():
            digest = text_at(found, "digest") or text_at({"digest": found}, "digest")
            facts.append(Fact(f"{title} {name}", digest, is_code=True))
    for name, digest in object_at(about, "prompt_sets").items():
        facts.append(Fact(f"Prompt set {name}", str(digest), is_code=True))
    return facts


def _window(window: float | None, stride: float | None) -> str:
    if window is None:
        return ""
    return f"{formats.whole(window)} tokens" + (f", stride {formats.whole(stride)}" if stride else "")


def _bootstrap(document: JsonObject) -> str:
    replicates, seed = (number_at(document, "provenance", name) for name in ("replicates", "bootstrap_seed"))
    if replicates is None or seed is None:
        return ""
    return (
        f"Intervals of means and ratios are BCa bootstraps of {formats.whole(replicates)} resamples, seed {seed:.0f}, "
        "with the tails of Student's t; where few prompts differ from the rest, they hold an exact bound on what was "
        "not seen. Those of shares of prompts, texts or pairs are exact (Clopper and Pearson), of their changes by "
        "Newcombe's score method."
    )


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
    return f"{name}{explained} on {where}" + (f", {formats.count_of(epochs, 'epoch')}" if epochs else "")


def _layers(trainable: JsonObject) -> str:
    top, share = number_at(trainable, "top_layers"), number_at(trainable, "top_share")
    if listed := list_at(trainable, "layers"):
        return f"layers {', '.join(str(layer) for layer in listed)}"
    if share:
        return f"the last {formats.percent(share)} of the layers"
    return f"the last {top:.0f} layers" if top else "all parameters"


def _sampling(protocol: JsonObject, occasion: Occasion) -> str:
    match text_at(protocol, "type"):
        case "StrictProtocol":
            draws, tokens = number_at(protocol, "draws") or 0, number_at(protocol, "max_new_tokens") or 0
            top_p, temperature = number_at(protocol, "top_p") or 0, number_at(protocol, "temperature") or 0
            coupled = (
                " Both models used the same random numbers, so every change compares like with like, prompt by prompt."
            )
            return (
                f"Every prompt was continued {formats.count_of(draws, 'time')} by up to {tokens:.0f} tokens, drawn at "
                f"random as in normal use (nucleus sampling, p {top_p:g}, temperature {temperature:g})."
                + (coupled if occasion.has_base else "")
            )
        case "PaperProtocol":
            return (
                "Every prompt, cut to 32 tokens, was continued once by up to 20 tokens, always taking the likeliest "
                "one. That shows one output per prompt, not how often a toxic one occurs in normal use."
            )
        case _:
            return ""


_NAMES = {"cpu": "CPU", "cpus": "CPUs", "gpu": "GPU", "gpus": "GPUs"}


def _environment(environment: JsonObject) -> list[Fact]:
    facts: list[Fact] = []
    for key, value in environment.items():
        if key in ("start", "end", "attempt", "seed"):
            continue
        written = _flat(value)
        if written:
            facts.append(Fact(_NAMES.get(key, key.replace("_", " ").capitalize()), written))
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
