"""Which names labels can have. Data sets with wrong ones are in test_bad_corpora.py."""

import pytest

from ner.cli import InputError
from ner.text.labels import check_labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([f"L{number}" for number in range(51)], "source: 51 labels"),
        (["두 낱말"], "label '두 낱말': a name"),
        ([""], "label ''"),
        (["a:b"], "label 'a:b'"),
        (['"'], "label '\"'"),
        (["<b>"], "label '<b>'"),
        (["PER", "per"], "source: the labels PER and per differ in case or width alone"),
        (["missed"], "label missed: the report uses this name"),
    ],
)
def test_labels_that_cannot_be_used(labels, message):
    with pytest.raises(InputError, match=message):
        check_labels(labels, "source")


def test_fifty_labels_can_be_used():
    check_labels([f"라벨_{number}-x" for number in range(50)], "source")
