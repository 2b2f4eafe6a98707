import pytest

from ner.model.names import to_exaone, to_llama


@pytest.mark.parametrize(
    ("llama", "exaone"),
    [
        ("o_proj", "out_proj"),
        ("gate_proj", "c_fc_0"),
        ("up_proj", "c_fc_1"),
        ("down_proj", "c_proj"),
        ("q_proj", "q_proj"),
        ("lm_head", "lm_head"),
    ],
)
def test_last_parts_of_names_there_and_back(llama, exaone):
    assert to_exaone(llama) == exaone
    assert to_llama(exaone) == llama
    assert to_llama(llama) == llama
