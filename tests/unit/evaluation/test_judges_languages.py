"""Doubts about a text's language: raised for what can be seen, and for little else."""

from __future__ import annotations

import pytest

from llm_repair.evaluation.judges.languages import LanguageDoubts, language_doubts

ENGLISH = ("en",)
SEVEN = ("en", "fr", "es", "it", "pt", "tr", "ru")
OTHER_SCRIPTS = [
    "Сегодня утром я поехал на работу на велосипеде.",
    "今天早上虽然下雨我还是骑自行车去上班了",
    "ذهبت إلى العمل هذا الصباح بالدراجة",
    "Σήμερα το πρωί πήγα στη δουλειά με το ποδήλατο.",
]
LATIN = [
    "Heute morgen bin ich mit dem Fahrrad zur Arbeit gefahren, obwohl es geregnet hat.",
    "Vanmorgen ben ik met de fiets naar mijn werk gegaan, hoewel het regende.",
    "Ce matin je suis allé au travail à vélo, bien qu'il pleuve sans arrêt depuis hier.",
    "Esta mañana fui al trabajo en bicicleta, aunque llovía y mi chaqueta no era buena.",
    "Stamattina sono andato al lavoro in bicicletta, anche se pioveva e faceva molto freddo.",
    "Hoje de manhã fui trabalhar de bicicleta, embora estivesse a chover e fizesse frio.",
    "Bu sabah yağmur yağmasına ve ceketim ince olmasına rağmen işe bisikletle gittim sonra döndüm.",
]
PLAIN = [
    "This morning I went to work by bike although it was raining and my coat leaks.",
    "Ain't nobody got time for that, he be working all day and they still want more.",
    "The naïve café owner from Zürich said that her façade needs paint, but who pays for it?",
]


@pytest.mark.parametrize("text", OTHER_SCRIPTS)
def test_another_script_raises_doubts(text: str) -> None:
    assert language_doubts([text], ENGLISH) == LanguageDoubts(texts=1, other_script=1, few_english_words=0)


@pytest.mark.parametrize("text", LATIN, ids=["de", "nl", "fr", "es", "it", "pt", "tr"])
def test_a_long_text_without_english_words_raises_doubts_for_a_judge_of_english_alone(text: str) -> None:
    assert language_doubts([text], ENGLISH) == LanguageDoubts(texts=1, other_script=0, few_english_words=1)
    assert language_doubts([text], SEVEN) == LanguageDoubts(texts=1, other_script=0, few_english_words=0)


@pytest.mark.parametrize("text", PLAIN)
def test_english_raises_none_whatever_its_dialect_and_loan_words(text: str) -> None:
    assert language_doubts([text], ENGLISH) == LanguageDoubts(texts=1, other_script=0, few_english_words=0)


def test_a_script_of_one_of_several_languages_raises_none() -> None:
    doubts = language_doubts(OTHER_SCRIPTS, SEVEN)

    assert doubts == LanguageDoubts(texts=4, other_script=3, few_english_words=0)


@pytest.mark.parametrize("text", ["", "1234 5678 !!!", "ok", "nein danke schön", "\x00\x01"])
def test_nothing_is_said_of_texts_in_which_it_cannot_be_seen(text: str) -> None:
    doubts = language_doubts([text], ENGLISH)

    assert doubts is not None
    assert doubts.doubtful == 0


def test_equal_texts_count_once_and_a_mixed_text_by_most_of_its_letters() -> None:
    """`abcde` against `где`: five Latin letters of eight."""
    doubts = language_doubts([LATIN[0], LATIN[0], "abcde где", "abcd эюяэюя"], ENGLISH)

    assert doubts == LanguageDoubts(texts=3, other_script=1, few_english_words=1)


def test_a_judge_of_unknown_languages_leaves_nothing_to_doubt() -> None:
    assert language_doubts(OTHER_SCRIPTS, ()) is None
