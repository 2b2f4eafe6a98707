import json
import shutil

import pytest
from transformers import AutoTokenizer

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.tokenizer import find_end_tokens, load_tokenizer

CHAT = [
    {"role": "system", "content": "가"},
    {"role": "user", "content": "나"},
    {"role": "assistant", "content": "{}"},
]


@pytest.fixture
def base(stand_in, tmp_path) -> Base:
    """A copy of the stand-in, for a test to change."""
    return Base(str(shutil.copytree(stand_in, tmp_path / "EXAONE-copy")))


def test_tokenizer_is_that_of_its_file(stand_in):
    tokenizer = load_tokenizer(Base(str(stand_in)))
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[PAD]", 0)
    assert tokenizer.eos_token == "[|endofturn|]"
    written = json.loads((stand_in / "tokenizer.json").read_text(encoding="utf-8"))
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    assert loaded["normalizer"] == written["normalizer"] == {"type": "NFC"}
    assert loaded["pre_tokenizer"] == written["pre_tokenizer"]
    # The class that the configuration names has no normalizer: load_tokenizer avoids this trap.
    assert AutoTokenizer.from_pretrained(stand_in).backend_tokenizer.normalizer is None


def test_chat_template_is_exaones(stand_in):
    tokenizer = load_tokenizer(Base(str(stand_in)))
    assert (
        tokenizer.apply_chat_template(CHAT, tokenize=False)
        == "[|system|]가[|endofturn|]\n[|user|]나\n[|assistant|]{}[|endofturn|]\n"
    )
    assert (
        tokenizer.apply_chat_template(CHAT[1:2], tokenize=False, add_generation_prompt=True)
        == "[|system|][|endofturn|]\n[|user|]나\n[|assistant|]"
    )


def test_model_without_a_chat_template_is_refused(base, tmp_path):
    (tmp_path / "EXAONE-copy" / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match=r"has no chat template\. Choose an instruct model"):
        load_tokenizer(base)


def test_unreadable_tokenizer_is_an_input_error(base, tmp_path):
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (tmp_path / "EXAONE-copy" / name).unlink()
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        load_tokenizer(base)


@pytest.mark.parametrize(
    ("listed", "more"), [(None, []), (5, [5]), ([3, 5], [3, 5])], ids=["none", "one", "several"]
)
def test_answers_end_at_the_eos_and_at_the_listed_tokens(base, tmp_path, listed, more):
    tokenizer = load_tokenizer(base)
    path = tmp_path / "EXAONE-copy" / "generation_config.json"
    path.write_text(json.dumps({} if listed is None else {"eos_token_id": listed}))
    assert find_end_tokens(base, tokenizer) == sorted([tokenizer.eos_token_id, *more])
    path.unlink()
    assert find_end_tokens(base, tokenizer) == [tokenizer.eos_token_id]
