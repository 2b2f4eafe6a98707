import pytest

from ner.text.klue import LABELS
from ner.text.prompts import SYSTEM_PROMPTS, build_prompt


@pytest.mark.parametrize("name", ["basic", "strict"])
def test_system_prompt_explains_every_label(name):
    for label, korean in LABELS.items():
        assert f"{label}({korean})" in SYSTEM_PROMPTS[name]


def test_prompt_ends_with_the_sentence():
    assert build_prompt("봄이 왔다", "개체명을 찾으세요.") == [
        {"role": "system", "content": "개체명을 찾으세요."},
        {"role": "user", "content": "봄이 왔다"},
    ]
