r"""The grammar of marked answers, in the notation that servers read."""

import pytest
from llguidance import LLMatcher, LLTokenizer, hf
from llguidance.gbnf_to_lark import gbnf_to_lark
from transformers import PreTrainedTokenizerFast

from ner.text.corpus import get_id2label, load_split
from ner.text.grammar import write_gbnf
from ner.text.notation import mark_entities
from tests.helpers import SAMPLE

BYTES = LLTokenizer("byte")  # every byte is a token, and no text is normalized
HARD = {
    "brackets": "<김>과 <\\이\\>",
    "marks": "봄:PS>은 :LC>",
    "backslash at the end": "길\\",
    "quotes": "\"김\"과 '이'와 `박`",
    "white space": " 줄\n바꿈\r\n탭\t끝 ",
    "control characters": "\x00\x01\x0b\x1b\x7f\x85\u2028\ufeff",
    "emoji": "😀👨‍👩‍👧가",
    "NFD": "\u1100\u1175\u11b7\u1107\u1169\u11b7",
    "grammar": '// # root ::= "o0" | [a] %llguidance {} /가/ \\u0041 \\n',
    "one character": "봄",
    "200 characters": "손흥민은 춘천에서 " * 20,
}


def build_matcher(sentence: str, tokenizer: LLTokenizer) -> LLMatcher:
    # As in write_grammar: with forcing, rare syllables must be split in one way only.
    lark = gbnf_to_lark(write_gbnf(sentence))
    assert lark.startswith("%llguidance {}\n")
    lark = lark.replace("{}", '{ "no_forcing": true }', 1)
    return LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark))


def accepts(matcher: LLMatcher, tokens: list[int]) -> bool:
    """Whether every token is allowed where it stands, and the answer may end after the last."""
    for token in tokens:
        if not matcher.compute_bitmask()[token // 8] >> token % 8 & 1:
            return False
        assert matcher.consume_token(token)
    return matcher.is_accepting()


@pytest.fixture(scope="module")
def tokenizer(stand_in) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(stand_in)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_gbnf_accepts_gold_answers_only(tokenizer, split):
    rows = load_split(str(SAMPLE), split)
    id2label = get_id2label(rows)
    grammar_tokenizer = hf.from_tokenizer(tokenizer)
    for row in rows:
        gold = mark_entities(row["tokens"], [id2label[tag] for tag in row["ner_tags"]])
        sentence = "".join(row["tokens"])
        wrong = [
            gold[:-1],
            gold + ".",
            gold[1:],
            gold.replace(":", "", 1),
            gold.replace("다", "", 1),
        ]
        for answer in {gold, *wrong}:
            tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
            matcher = build_matcher(sentence, grammar_tokenizer)
            assert accepts(matcher, tokens) == (answer == gold), answer


@pytest.mark.parametrize("sentence", HARD.values(), ids=HARD)
def test_gbnf_of_any_characters(sentence):
    length = len(sentence)
    for tags in (["O"] * length, ["B-PS"] + ["I-PS"] * (length - 1), ["B-QT"] * length):
        answer = mark_entities(list(sentence), tags)
        assert accepts(build_matcher(sentence, BYTES), list(answer.encode()))
        assert not accepts(build_matcher(sentence, BYTES), list(f"{answer}.".encode()))


@pytest.mark.parametrize(
    "answer",
    [
        "손흥민은",
        "<손흥민>은",
        "<손흥민:XX>은",
        "<손흥민:PS은",
        "<>손흥민은",
        "<:PS>손흥민은",
        "<<손흥민:PS>:PS>은",
        "<손흥민은",
        "<손흥민은:PS>>",
        "손 흥민은",
        "",
    ],
)
def test_gbnf_allows_exact_copies_with_complete_marks_only(answer):
    assert accepts(build_matcher("손흥민은", BYTES), list(answer.encode())) == (
        answer == "손흥민은"
    )


@pytest.mark.parametrize("label", ["상품", "brand-2", "색_상"])
def test_gbnf_with_labels_of_ones_own(label):
    grammar = write_gbnf("흰 신", ["상품", "brand-2", "색_상"])
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(gbnf_to_lark(grammar)))
    assert accepts(matcher.deep_copy(), list(f"<흰:{label}> 신".encode()))
    assert not accepts(matcher.deep_copy(), list(f"<흰:{label[:-1]}> 신".encode()))
    assert not accepts(matcher.deep_copy(), list("<흰:PS> 신".encode()))


def test_gbnf_has_no_line_break_within_a_literal():
    """xgrammar reads none."""
    assert write_gbnf("줄\n") == (
        "root ::= o0\n"
        'CLOSE ::= ":" ("PS" | "LC" | "OG" | "DT" | "TI" | "QT") ">"\n'
        'o0 ::= "줄" o1 | "<" "줄" i1\n'
        'o1 ::= "\\x0a" o2 | "<" "\\x0a" i2\n'
        'i1 ::= "\\x0a" i2 | CLOSE o1\n'
        'o2 ::= ""\n'
        "i2 ::= CLOSE o2\n"
    )
