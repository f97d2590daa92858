"""Ids of both protocols, worked by hand from their description."""

import numpy as np
import pytest

from lra_tasks.tokens import Characters, byte_ids, byte_text, codes_of, count_characters


def test_characters_are_numbered_by_frequency_then_code_point():
    counts = count_characters(["banana", "nab!"])  # a 4, n 3, b 2, ! 1
    vocabulary = Characters.counted(counts, 2, 100)
    assert vocabulary.characters == "anb"
    assert len(vocabulary) == 6
    # pad 0, unk 1, eos 2, a 3, n 4, b 5
    assert vocabulary.ids("ban!", 10).tolist() == [5, 3, 4, 1, 2]
    assert vocabulary.ids("banana", 4).tolist() == [5, 3, 4, 2]  # three characters and the end mark
    assert vocabulary.ids("", 4).tolist() == [2]
    assert vocabulary.text(vocabulary.ids("ban!", 10)) == "ban�"
    assert Characters.counted(count_characters(["ba"]), 1, 100).characters == "ab"  # a tie


def test_no_more_characters_than_the_card_has_ids_for():
    counts = count_characters(["aaabbc"])
    assert Characters.counted(counts, 1, 5).characters == "ab"
    assert Characters.counted(np.zeros_like(counts), 0, 5).characters == ""


def test_a_character_is_a_code_point_and_ids_fit_their_type():
    assert codes_of("aé😀").tolist() == [97, 233, 128512]
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    vocabulary = Characters(many)
    ids = vocabulary.ids(many, 1000)
    assert ids.dtype == np.uint16
    assert ids.tolist() == [*range(3, 303), 2]
    assert Characters("ab").ids("ab", 9).dtype == np.uint8


def test_weights_count_a_text_more_than_once():
    counts = count_characters(["ab", "b"], [3, 1])
    assert (counts[ord("a")], counts[ord("b")], counts.sum()) == (3, 4, 7)


@pytest.mark.parametrize(
    ("text", "max_length", "ids"),
    [
        ("az", 10, [98, 123]),
        ("é", 10, [196, 170]),  # C3 A9
        ("€!", 10, [227, 131, 173, 34]),  # E2 82 AC, 21
        ("€!", 2, [227, 131]),  # cut inside a character, as bytes are
        ("\x00\xff"[:1], 10, [1]),
    ],
)
def test_bytes_plus_one(text, max_length, ids):
    found = byte_ids(text, max_length)
    assert found.dtype == np.uint16
    assert found.tolist() == ids


def test_bytes_back_to_text():
    assert byte_text(byte_ids("naïve", 100)) == "naïve"
    assert byte_text(byte_ids("naï", 3)) == "na�"
