"""Tells texts that are hardly in a language a judge was trained for, by script and by common English words.

A cheap look, in order to warn, not to sort: what it counts are doubts.

  script   a text of at least 5 letters, most of them of scripts that none of the judge's languages is written in
  words    for a judge that reads English alone: a text of at least 12 words in Latin script, of which fewer than one in
           twelve is a common English word, informal ones included. Running English has some 40 % of them.

It cannot see another language in a text of few words or in one that mixes both, nor one in Latin script for a judge of
several languages, nor a language written in another's script; it takes English lists of names, code and word salad for
something else. Words that other languages of Europe also have, such as `a`, `in` and `me`, are not looked for.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llm_repair.evaluation.judges.judge import ENGLISH

_LEAST_LETTERS: Final = 5
_LEAST_WORDS: Final = 12
_LEAST_SHARE: Final = 1 / 12
_READ_CHARACTERS: Final = 2_000
"""Of a text; what language it is shows early."""

_SCRIPTS: Final = {"ru": "CYRILLIC"}
"""First word of the letters' Unicode names, by language; LATIN for every other that a judge here has."""
_COMMON_WORDS: Final = """
the of and to that is it for with as was you are this be at have not but they from by his her she which or what
would there their will if my all your can who been has had were when how out about than then them these some its
our him just into only could should because i'm it's don't i'll you're that's can't ain't im dont gonna wanna
like get got know want need people make look good never even back right every think say said
"""
_ENGLISH: Final = frozenset(_COMMON_WORDS.split())
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


@dataclass(frozen=True)
class LanguageDoubts:
    """How many texts are probably in no language of a judge."""

    texts: int
    """Distinct texts in which it can be seen at all: those with letters enough."""
    other_script: int
    """Texts mostly in a script of other languages."""
    few_english_words: int
    """Further texts, long and in the Latin script, with hardly any common English word."""

    @property
    def doubtful(self) -> int:
        """Texts in doubt for either reason."""
        return self.other_script + self.few_english_words


def language_doubts(texts: Iterable[str], languages: Iterable[str]) -> LanguageDoubts | None:
    """Looks at distinct texts for a judge of these languages; None where its languages are not known."""
    known = frozenset(languages)
    if not known:
        return None
    scripts = frozenset(_SCRIPTS.get(language, "LATIN") for language in known)
    seen = script = words = 0
    for text in set(texts):
        beginning = text[:_READ_CHARACTERS]
        letters = [character for character in beginning if character.isalpha()]
        if len(letters) < _LEAST_LETTERS:
            continue
        seen += 1
        if 2 * sum(_script(letter) not in scripts for letter in letters) > len(letters):
            script += 1
        elif tuple(known) == ENGLISH and _has_few_english_words(beginning):
            words += 1
    return LanguageDoubts(seen, script, words)


def _has_few_english_words(text: str) -> bool:
    words = _WORD.findall(text.lower().replace("’", "'"))
    return len(words) >= _LEAST_WORDS and sum(word in _ENGLISH for word in words) < _LEAST_SHARE * len(words)


@functools.cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
