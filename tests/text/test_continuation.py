"""How a marked answer goes on, from any place in it."""

import pytest

from ner.text.continuation import continue_answer, measure_copy


@pytest.mark.parametrize(
    ("answer", "sentence", "rest"),
    [
        ("", "손흥민은", "손흥민은"),
        ("손흥", "손흥민은", "민은"),
        ("손흥민은", "손흥민은", ""),
        ("<", "손흥민은", "손흥민은"),
        ("<손흥민", "손흥민은", "은"),
        ("<손흥민:", "손흥민은", None),
        ("<손흥민:P", "손흥민은", "S>은"),
        ("<손흥민:PS", "손흥민은", ">은"),
        ("<손흥민:PX", "손흥민은", None),
        ("<손흥민:PS>", "손흥민은", "은"),
        ("<손흥민:PS>은 <춘천:L", "손흥민은 춘천에서", "C>에서"),
        # A colon may belong to the sentence.
        ("<12:", "12:30에", "30에"),
        ("<12:30:T", "12:30에", "I>에"),
        # A poor copy goes on after its last characters.
        ("손흥은 춘천", "손흥민은 춘천에서", "에서"),
        ("<손흥은:P", "손흥민은", None),
        ("<손흥은 춘천:L", "손흥민은 춘천에서", "C>에서"),
        ("없는 말", "손흥민은", None),
        ("가나 가나 가나!가나", "가나 가나 가나 가나 다", " 다"),
        # Special characters are escaped.
        ("a ", "a <b> \\c", "\\<b\\> \\\\c"),
        ("a \\<", "a <b> \\c", "b\\> \\\\c"),
        ("a \\", "a <b> \\c", "c"),
    ],
)
def test_rest_of_an_answer(answer, sentence, rest):
    assert continue_answer(answer, sentence) == rest


@pytest.mark.parametrize(
    ("answer", "sentence", "copied"),
    [
        ("", "손흥민은", (0, False)),
        ("손흥", "손흥민은", (2, False)),
        ("<손흥민:PS>", "손흥민은", (3, False)),
        ("<손흥민:PS>은", "손흥민은", (4, False)),
        ("<", "손흥민은", (0, True)),
        ("손<흥", "손흥민은", (2, True)),
        ("<손흥민:", "손흥민은", None),
        ("<손흥민:P", "손흥민은", None),
        ("<12:30", "12:30에", (5, True)),
        ("손흥\ufffd", "손흥민은", None),
        ("a\\", "a\\<b", None),  # one half of an escaped backslash
        ("a\\\\", "a\\<b", (2, False)),
        ("a\\\\\\<", "a\\<b", (3, False)),
        ("다른", "손흥민은", None),
    ],
)
def test_copied_characters(answer, sentence, copied):
    assert measure_copy(answer, sentence) == copied


SHOP = ["상품", "상표", "brand-2"]


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("<신:", None),
        ("<신:상", None),
        ("<신:상품", ">이 희다"),
        ("<신:상표", ">이 희다"),
        ("<신:b", "rand-2>이 희다"),
        ("<신:B", None),
    ],
)
def test_rest_of_a_label_of_ones_own(answer, rest):
    assert continue_answer(answer, "신이 희다", SHOP) == rest


def test_copy_within_a_label_of_ones_own_is_not_measured():
    assert measure_copy("<신:상", "신이 희다", SHOP) is None
    assert measure_copy("<신:상표>이", "신이 희다", SHOP) == (2, False)
