import pytest

from ner.model.names import EXAONE, is_exaone, to_exaone, to_llama


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


@pytest.mark.parametrize(("name", "expected"), [(EXAONE, True), ("google/gemma-3-270m", False)])
def test_exaone_is_recognized_by_its_name(name, expected):
    assert is_exaone(name) is expected


def test_exaone_is_recognized_by_its_config(stand_in, tmp_path):
    assert is_exaone(str(stand_in))
    folder = tmp_path / "EXAONE-by-name-only"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gemma3_text"}')
    assert not is_exaone(str(folder))
