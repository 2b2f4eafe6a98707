"""The grammar of all marked answers to one sentence, for constrained decoding.

Such an answer copies the sentence, opens a name before a character and closes it with a label.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator

from ner.text.klue import LABELS
from ner.text.notation import escape

GBNF_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]')


def write_grammar(sentence: str, inside: bool = False, labels: Iterable[str] = LABELS) -> str:
    r"""The grammar in llguidance's Lark. `inside` is whether the sentence begins inside a name.

    `no_forcing` matters: otherwise llguidance rejects the tokens of a syllable that the tokenizer
    splits.
    """
    rules = list_rules(sentence, quote, labels, inside)
    lines = [
        '%llguidance { "no_forcing": true }',
        "start: i0" if inside else "start: o0",
        *(f"{name}: {alternatives}" for name, alternatives in rules),
    ]
    return "\n".join(lines) + "\n"


def write_gbnf(sentence: str, labels: Iterable[str] = LABELS) -> str:
    """The grammar in llama.cpp's GBNF, for servers.

    xgrammar, which vLLM can use, reads it and refuses llguidance's Lark (tried with 0.1.25, 0.1.29
    and 0.2.8).
    """
    rules = list_rules(sentence, quote_gbnf, labels)
    lines = [f"{name} ::= {alternatives}" for name, alternatives in rules]
    return "\n".join(["root ::= o0", *lines]) + "\n"


def list_rules(
    sentence: str,
    write_literal: Callable[[str], str],
    labels: Iterable[str],
    inside: bool = False,
) -> Iterator[tuple[str, str]]:
    """The names and alternatives of the rules, which both notations write alike.

    Rule `o3` is the rest of the answer from character 3 on, outside of a name, and `i3` inside of
    one.
    """
    names = " | ".join(write_literal(label) for label in labels)
    yield "CLOSE", f'":" ({names}) ">"'
    for position, character in enumerate(sentence):
        literal = write_literal(escape(character))
        following = position + 1
        yield f"o{position}", f'{literal} o{following} | "<" {literal} i{following}'
        if position > 0 or inside:
            yield f"i{position}", f"{literal} i{following} | CLOSE o{position}"
    end = len(sentence)
    yield f"o{end}", '""'
    yield f"i{end}", f"CLOSE o{end}"


def quote(text: str) -> str:
    """A literal of Lark, written as JSON would: other characters than ASCII as \\u escapes."""
    return json.dumps(text)


def quote_gbnf(text: str) -> str:
    r"""A literal of GBNF.

    It needs no JSON: xgrammar reads no surrogate pairs, and llguidance's converter loses the zeros
    of \u000a.
    """
    return '"' + GBNF_SPECIAL.sub(lambda special: f"\\x{ord(special[0]):02x}", text) + '"'
