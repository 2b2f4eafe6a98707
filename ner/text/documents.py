"""Cut a document into sentences whose places in it are known."""

import re
from collections.abc import Iterator
from typing import NamedTuple

LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
CLOSING = re.escape("\"'”’»」』〉》)）]］】")
# A period ends no sentence after an initial (J. K. 롤링) or between two numbers (2024. 3. 15.).
# Quotes and brackets that close after the sentence belong to it. The quantifiers are possessive, so
# time is linear even in a line of dots.
SENTENCE_END = re.compile(
    rf"""
    (?<![.!?…]) (?: [.!?…]{{2,}}+ | [!?…] | (?<!\b[A-Za-z]) \. (?! (?<=\d\.) \s+ \d) )
    [{CLOSING}]*+ (?=\s|\Z)
    | [。！？]++ [{CLOSING}]*+
    | [{LINE_BREAKS}]++
    """,
    re.VERBOSE,
)
# Characters that combine with the one before: jamo of a syllable in NFD, accents, parts of emoji.
JOINED = "[\u0300-\u036f\u1160-\u11ff\u20d0-\u20ff\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]"
# Sentences of a line are read together up to this many characters, as long as KLUE's longest row.
TOGETHER = 150


class Sentence(NamedTuple):
    """A part of a document that is read at once, without white space around it."""

    text: str
    start: int  # its first character in the document

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def split_sentences(text: str, limit: int, together: int = TOGETHER) -> list[Sentence]:
    """The sentences of a text, in order. Only white space lies between them.

    Neighbors in a line count as one sentence if they have at most `together` characters. A sentence
    of more than `limit` characters is cut at white space, or anywhere if it has none.

    >>> [sentence.text for sentence in split_sentences("봄이 왔다. '꽃이 핀다!' 했다.", 100, 9)]
    ['봄이 왔다.', "'꽃이 핀다!'", '했다.']
    """
    together = min(together, limit)
    sentences: list[Sentence] = []
    start = 0
    for end in [*(match.end() for match in SENTENCE_END.finditer(text)), len(text)]:
        for part in cut_sentence(text, start, end, limit):
            if sentences and can_join(text, sentences[-1], part, together):
                first = sentences.pop().start
                part = Sentence(text[first : part.end], first)
            sentences.append(part)
        start = end
    return sentences


def can_join(text: str, sentence: Sentence, following: Sentence, together: int) -> bool:
    """Whether two neighbors stand in one line and have at most `together` characters."""
    if following.end - sentence.start > together:
        return False
    return not any(character in LINE_BREAKS for character in text[sentence.end : following.start])


def cut_sentence(text: str, start: int, end: int, limit: int) -> Iterator[Sentence]:
    """The parts of the sentence from `start` to `end`, of at most `limit` characters each."""
    longest = rf"\S.{{0,{limit - 1}}}"
    part = re.compile(rf"{longest}(?!\S)|{longest}(?!{JOINED})(?<!\u200d)|{longest}", re.DOTALL)
    for match in part.finditer(text, start, end):
        yield Sentence(match[0].rstrip(), match.start())
