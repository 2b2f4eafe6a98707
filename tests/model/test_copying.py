"""The copy of a sentence in its marked answer: what is drafted, and what a grammar allows."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from ner.model.copying import Copy, CopyRules
from ner.text.corpus import get_id2label, load_split
from ner.text.marked import parse_marks, read_marked
from ner.text.notation import mark_entities
from tests.helpers import SAMPLE

HARD = {
    "brackets": "<김>과 <\\이\\>",
    "marks": "봄:PS>은 :LC>",
    "quotes": "\"김\"과 '이'와 `박`",
    "white space": " 줄\n바꿈\t끝 ",
    "control characters": "\x00\x01\x7f\x85\u2028\ufeff",
    "emoji": "😀👨‍👩‍👧가",
    "rare syllables": "뷁똠방각하 쀍",
    "a turn marker": "끝[|endofturn|]은",
    "nothing": "",
    "one character": "봄",
    "backslashes": "\\" * 700,
    "more than two grammars": "손흥민은 <춘천>에서 \\ " * 42,
}


@pytest.fixture(scope="module")
def tokenizer(stand_in) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(stand_in)


def build_rules(tokenizer, draft: int = 0, constrain: bool = True, **settings) -> CopyRules:
    return CopyRules(tokenizer, [tokenizer.eos_token_id], draft, constrain, **settings)


def build_copy(tokenizer, sentence: str, **settings) -> Copy:
    copy = Copy(build_rules(tokenizer, **settings), sentence)
    copy.prepare()
    return copy


def list_gold_answers() -> list[tuple[str, str]]:
    """The sentences of the sample corpus and their marked answers."""
    rows = load_split(str(SAMPLE), "train")
    id2label = get_id2label(rows)
    return [
        (
            "".join(row["tokens"]),
            mark_entities(row["tokens"], [id2label[t] for t in row["ner_tags"]]),
        )
        for row in rows
    ]


def write_at_random(copy: Copy, tokenizer, seed: int) -> str:
    """An answer whose tokens are the best of random logits that the copy allows."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20_000):
        logits = torch.randn(len(tokenizer), generator=generator)
        token = logits.argmax().item()
        if not copy.allows(token):
            token = copy.choose(logits)
            assert copy.allows(token)
        copy.add(token)
        if token == tokenizer.eos_token_id:
            return tokenizer.decode(copy.tokens[:-1])
    raise AssertionError("the answer does not end")


def test_gold_answers_are_allowed_to_their_ends(tokenizer):
    for sentence, answer in list_gold_answers():
        copy = build_copy(tokenizer, sentence)
        for token in tokenizer(answer)["input_ids"]:
            assert not copy.allows(tokenizer.eos_token_id)
            assert copy.allows(token)
            copy.add(token)
        assert copy.allows(tokenizer.eos_token_id)


@pytest.mark.parametrize("sentence", HARD.values(), ids=HARD)
@pytest.mark.parametrize("seed", range(3))
def test_any_model_copies_exactly(tokenizer, sentence, seed):
    """Even one that chooses tokens at random."""
    answer = write_at_random(build_copy(tokenizer, sentence), tokenizer, seed)
    reading, mentions = read_marked(answer, sentence)
    assert reading == {"read": "copied", "edits": 0}
    assert all(mention["status"] == "placed" for mention in mentions)


def test_sentence_is_copied_as_the_model_sees_it(tokenizer):
    """The stand-in's tokenizer turns NFD into NFC, as EXAONE's does. The names stay in place."""
    sentence = "\u1100\u1161\u11bc\u110b\u116f\u11ab에서"  # 강원, in conjoining jamo
    copy = build_copy(tokenizer, sentence)
    for token in tokenizer("<강원:LC>에서")["input_ids"]:
        assert copy.allows(token)
        copy.add(token)
    reading, mentions = read_marked(tokenizer.decode(copy.tokens), sentence)
    assert reading["edits"] == 0
    assert (mentions[0]["start"], mentions[0]["end"]) == (0, 6)


def test_name_longer_than_a_grammar(tokenizer):
    sentence = "가나다라마바사 " * 100
    answer = f"{sentence[:140]}<{sentence[140:740]}:OG>{sentence[740:]}"
    copy = build_copy(tokenizer, sentence)
    for token in tokenizer(answer)["input_ids"]:
        assert copy.allows(token)
        copy.add(token)
    assert copy.allows(tokenizer.eos_token_id)


def test_model_with_more_logits_than_tokens(tokenizer):
    """As in Qwen. The best logit belongs to no token."""
    copy = build_copy(tokenizer, "봄이", vocabulary=len(tokenizer) + 100)
    logits = torch.zeros(len(tokenizer) + 100)
    logits[-1] = 1
    assert not copy.allows(len(tokenizer) + 99)
    assert copy.choose(logits) < len(tokenizer)


def test_other_labels_and_other_text_are_not_allowed(tokenizer):
    copy = build_copy(tokenizer, "봄이")
    for text, allowed in [("여", False), (">", False), (":", False), ("<", True)]:
        assert copy.allows(tokenizer(text)["input_ids"][0]) == allowed
    for token in tokenizer("<봄:")["input_ids"]:
        copy.add(token)
    assert not copy.allows(tokenizer("X")["input_ids"][0])
    assert copy.allows(tokenizer("P")["input_ids"][0])


def test_free_copy_allows_everything(tokenizer):
    copy = build_copy(tokenizer, "봄이", constrain=False)
    assert all(copy.allows(token) for token in range(len(tokenizer)))


@pytest.mark.parametrize("draft", [1, 4, 32])
def test_gold_answers_are_drafted(tokenizer, draft):
    """Only the openings of names, their colons and their labels need to be chosen.

    Where a draft is wrong, the model's token replaces it, and the next draft goes on from there.
    """
    rules = build_rules(tokenizer, draft, constrain=False)
    end = [tokenizer.eos_token_id]
    for sentence, answer in list_gold_answers():
        copy, tokens, calls = Copy(rules, sentence), tokenizer(answer)["input_ids"] + end, 0
        while len(copy.tokens) < len(tokens):
            calls += 1
            for drafted in [*copy.draft(), None]:
                token = tokens[len(copy.tokens)]
                copy.add(token)
                if token != drafted or len(copy.tokens) == len(tokens):
                    break
        assert copy.tokens == tokens
        if draft == 32:
            # One for the beginning, and for a name one each for <, :, label and > at most, and
            # three where tokens around it are other ones than in the sentence.
            assert calls <= 1 + 7 * len(parse_marks(answer).marks)
        if draft == 1:
            assert calls >= len(tokens) / 2


def test_no_draft_without_a_number_of_tokens(tokenizer):
    assert Copy(build_rules(tokenizer, 0), "봄이 왔다").draft() == []


def test_draft_ends_with_the_end_of_the_answer(tokenizer):
    draft = Copy(build_rules(tokenizer, 32), "봄이").draft()
    assert draft == [*tokenizer("봄이")["input_ids"], tokenizer.eos_token_id]
    assert len(Copy(build_rules(tokenizer, 3), "봄이 왔다" * 9).draft()) == 3
