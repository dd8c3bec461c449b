"""Opens the judge that a step names."""

from __future__ import annotations

from pathlib import Path

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import JudgeUnavailable
from llm_repair.core.evaluation import ClassifierJudge, DetoxifyJudge, HatesonarJudge, ProfanityJudge
from llm_repair.core.evaluation import Judge as JudgeChoice
from llm_repair.evaluation.judges.classifier import open_classifier
from llm_repair.evaluation.judges.detoxify import open_detoxify
from llm_repair.evaluation.judges.judge import Judge


def open_judge(choice: JudgeChoice, store: ArtifactStore) -> Judge:
    """Loads a judge, resolved to the digest of its artifact or of its pinned package files.

    Raises:
      JudgeUnavailable: it is not installed, does not load, or is not what its digest says.
    """
    match choice.kind:
        case ProfanityJudge():
            # Imported here, since the import loads pickles of a pinned package.
            from llm_repair.evaluation.judges.profanity import ProfanityScorer

            return ProfanityScorer(choice.digest)
        case HatesonarJudge():
            from llm_repair.evaluation.judges.hatesonar import HatesonarScorer, pinned_sha256

            return HatesonarScorer(_artifact(choice, store), pinned_sha256())
        case DetoxifyJudge(variant=variant):
            return open_detoxify(_artifact(choice, store), variant, choice.digest)
        case ClassifierJudge(toxic_labels=toxic):
            return open_classifier("classifier", choice.digest, _artifact(choice, store), toxic)


def _artifact(choice: JudgeChoice, store: ArtifactStore) -> Path:
    if not choice.digest:
        raise JudgeUnavailable(f"{type(choice.kind).__name__} was not resolved to an artifact")
    return store.materialize(choice.digest)
