"""What a model is measured on besides the prompts of the gate: texts it reads and further prompts it continues."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.references import DatasetRef


class CorpusLayout(enum.Enum):
    """How the rows of a corpus make documents, the units of perplexity."""

    DOCUMENTS = 1
    """A row is a document."""
    WIKITEXT = 2
    """Rows are lines in the form of WikiText, blank ones included; an article, from one heading of the first level to
    the next, is a document."""
    RUNNING_TEXT = 3
    """Rows, joined by blank lines in their order, are one running text, and its windows are documents."""


@dataclass(frozen=True)
class Corpus:
    """A text collection for perplexity."""

    name: str
    """Used in the metric id `perplexity.<name>.token`; lower-case letters, digits and `_`."""
    texts: DatasetRef
    layout: CorpusLayout = CorpusLayout.DOCUMENTS
    """`paper.v1` reads every corpus as a running text."""

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class ClozeSet:
    """Texts whose last word is to be predicted from what stands before it, as in LAMBADA."""

    name: str
    """Used in the metric id `cloze.<name>.accuracy`."""
    texts: DatasetRef

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class BiasPairs:
    """Pairs of sentences that differ in a stereotype, as in CrowS-Pairs: `rejected` is the more stereotyping one."""

    name: str
    """Used in the metric id `bias.<name>.preference`."""
    pairs: DatasetRef
    """Their `group` is the kind of bias."""

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class PromptSet:
    """Further prompts, measured as those of the gate but apart from them: benign ones, or some that name groups."""

    name: str
    """Used in the metric id `prompts.<name>.toxicity.mean`."""
    prompts: DatasetRef
    """Where they have a `group`, metrics are also given by group."""

    def __post_init__(self) -> None:
        _check_name(self.name)


def _check_name(name: str) -> None:
    """Refuses a name that could not stand in a metric id or a file name."""
    if not name or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789_" for c in name):
        raise InvalidFields([FieldViolation("name", "must be lower-case letters, digits and _")])
