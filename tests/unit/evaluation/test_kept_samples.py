"""What is kept of a sampling run: found again whole, refused when torn or foreign, and never written twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_repair.artifacts.objects import PART_BYTES
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import StorageFull
from llm_repair.evaluation import kept_samples
from llm_repair.evaluation.judging_thread import TextScores
from llm_repair.evaluation.kept_samples import JudgedSample, KeptSamples
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation

KEY = "0" * 64


@pytest.fixture
def attempt(store: ArtifactStore, new_context: Callable[..., Any]) -> Callable[..., KeptSamples]:
    """Starts attempts at one step, the first of which finds nothing."""
    return lambda context=None, **identity: KeptSamples(
        store, context or new_context(), Stopwatch(), {"judges": [], **identity}
    )


def batch(prompt: str, text: str = " text") -> list[Generation]:
    return [Generation(prompt, draw, f"{text} {draw}", 3 + draw) for draw in range(2)]


def judged(samples: list[Generation], score: float | None = 0.1) -> list[JudgedSample]:
    """With a score that has no short decimal form, if any."""
    row = None if score is None else (score / 3, 1.0)
    return [JudgedSample(sample, TextScores((score and score / 3,), (row,))) for sample in samples]


def keep(kept: KeptSamples, run: str, samples: list[Generation], score: float | None = 0.1) -> None:
    kept.add(run, samples)
    kept.add_judged(run, judged(samples, score))


def checkpoint_files(tmp_path: Path) -> list[Path]:
    area = tmp_path / "store" / "projects" / "default" / "checkpoints" / KEY
    return sorted(path for path in (area / "blobs").rglob("*") if path.is_file())


def test_the_next_attempt_finds_all_that_was_kept_judged_or_not(
    attempt: Callable[..., KeptSamples], new_context: Callable[..., Any]
) -> None:
    """A line separator in a text is no end of a line of the file."""
    first = attempt()
    keep(first, "", batch("a", "odd \u2028\x85\n text"))
    keep(first, "benign", batch("a"), None)
    first.add("", batch("b"))
    first.add("", batch("c"))
    first.save()

    context = new_context()
    second = attempt(context)

    assert list(second.judged("")) == judged(batch("a", "odd \u2028\x85\n text"))
    assert list(second.judged("benign")) == judged(batch("a"), None)
    assert second.unjudged("") == [batch("b"), batch("c")]
    assert second.unjudged("benign") == []
    assert second.places("") == {(prompt, draw) for prompt in "abc" for draw in (0, 1)}
    assert second.found == 8
    assert [phrase for phrase, _ in context.notes] == ["resumed from checkpoint"]


def test_a_third_attempt_finds_what_both_before_it_kept(attempt: Callable[..., KeptSamples]) -> None:
    first = attempt()
    keep(first, "", batch("a"))
    first.add("", batch("b"))
    first.save()
    second = attempt()
    second.add_judged("", judged(batch("b")))
    keep(second, "", batch("c"))
    second.save()

    third = attempt()

    assert list(third.judged("")) == [*judged(batch("a")), *judged(batch("b")), *judged(batch("c"))]
    assert third.unjudged("") == []


def test_what_was_written_once_is_not_written_again(attempt: Callable[..., KeptSamples], tmp_path: Path) -> None:
    kept = attempt()
    keep(kept, "", batch("a"))
    kept.save()
    before = set(checkpoint_files(tmp_path))
    keep(kept, "", batch("b"))
    kept.save()

    after = set(checkpoint_files(tmp_path))

    # New are the judged samples of b; about.json and the empty list of unjudged batches are the same.
    assert before < after
    assert len(after - before) == 1


def test_a_torn_checkpoint_is_refused_with_a_note_and_the_one_before_it_is_taken(
    attempt: Callable[..., KeptSamples], new_context: Callable[..., Any], tmp_path: Path
) -> None:
    kept = attempt()
    keep(kept, "", batch("a"))
    kept.save()
    older = set(checkpoint_files(tmp_path))
    keep(kept, "", batch("b"))
    kept.save()
    (newest,) = set(checkpoint_files(tmp_path)) - older
    newest.chmod(0o600)
    newest.write_bytes(newest.read_bytes()[::-1])

    context = new_context()
    resumed = attempt(context)

    assert list(resumed.judged("")) == judged(batch("a"))
    assert [(phrase, fields.get("reason")) for phrase, fields in context.notes] == [
        ("checkpoint refused", "ARTIFACT_CORRUPT"),
        ("resumed from checkpoint", None),
    ]


def test_a_foreign_checkpoint_is_refused_and_outlived(
    attempt: Callable[..., KeptSamples], new_context: Callable[..., Any]
) -> None:
    """Checkpoints are kept by their number, so the numbers of one's own go on above those of the foreign one."""
    foreign = attempt(judges=["another"])
    for prompt in "abcdef":
        keep(foreign, "", batch(prompt))
    foreign.save()
    context = new_context()
    own = attempt(context)
    for prompt in "xy":
        keep(own, "", batch(prompt))
        own.save()

    resumed = attempt()

    assert own.found == 0
    assert [(phrase, fields.get("reason")) for phrase, fields in context.notes] == [
        ("checkpoint refused", "CHECKPOINT_FOREIGN"),
        ("started over", None),
    ]
    assert list(resumed.judged("")) == [*judged(batch("x")), *judged(batch("y"))]


def test_large_files_of_earlier_checkpoints_are_part_of_later_ones(attempt: Callable[..., KeptSamples]) -> None:
    large = batch("a", "x" * PART_BYTES)
    kept = attempt()
    keep(kept, "", large)
    kept.save()
    for prompt in "bcd":
        keep(kept, "", batch(prompt))
        kept.save()

    resumed = attempt()

    assert list(resumed.judged("")) == [*judged(large), *(one for prompt in "bcd" for one in judged(batch(prompt)))]


@pytest.mark.parametrize("line", ["not json", '{"run": ""}', '{"run": "", "probabilities": 3}'])
def test_a_checkpoint_of_an_unknown_form_is_refused(
    line: str,
    attempt: Callable[..., KeptSamples],
    new_context: Callable[..., Any],
    store: ArtifactStore,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "about.json").write_text('{"judges": []}')
    (folder / "judged-000001.jsonl").write_text(line)
    (folder / "unjudged.jsonl").write_text("")
    store.put_checkpoint(KEY, 7, folder)
    context = new_context()

    assert attempt(context).found == 0
    assert context.notes[0] == ("checkpoint refused", {"step": 7, "reason": "CHECKPOINT_INCOMPLETE"})


def test_checkpoints_keep_their_distance(
    attempt: Callable[..., KeptSamples], store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch a second: with 3 seconds between them, the third and sixth of seven batches make a checkpoint."""
    now = [0.0]
    monkeypatch.setattr(kept_samples.time, "monotonic", lambda: now[0])
    kept = attempt()
    saved: list[int] = []
    for number in range(1, 8):
        now[0] = float(number)
        keep(kept, "", batch(f"p{number}"))
        if store.checkpoints(KEY) and store.checkpoints(KEY)[0].step not in saved:
            saved.append(store.checkpoints(KEY)[0].step)

    assert saved == [2 * 3, 2 * 6]


def test_without_news_nothing_is_saved(attempt: Callable[..., KeptSamples], store: ArtifactStore) -> None:
    kept = attempt()
    kept.save()
    assert store.checkpoints(KEY) == []

    keep(kept, "", batch("a"))
    kept.save()
    first = store.checkpoints(KEY)
    attempt().save()

    assert store.checkpoints(KEY) == first


def test_a_full_store_does_not_hide_what_the_run_ended_by(
    attempt: Callable[..., KeptSamples], store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise StorageFull

    kept = attempt()
    keep(kept, "", batch("a"))
    monkeypatch.setattr(store, "put_checkpoint", full)

    kept.save_before_leaving()

    with pytest.raises(StorageFull):
        kept.save()


def test_a_working_folder_that_takes_nothing_does_not_hide_it_either(
    attempt: Callable[..., KeptSamples], new_context: Callable[..., Any]
) -> None:
    context = new_context()
    kept = attempt(context)
    keep(kept, "", batch("a"))
    shutil.rmtree(context.workdir)

    kept.save_before_leaving()

    with pytest.raises(FileNotFoundError):
        kept.save()
