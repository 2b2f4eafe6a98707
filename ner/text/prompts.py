"""System prompts, and the chat with a sentence."""

from collections.abc import Mapping

from ner.text.klue import LABELS

LABEL_LIST = "{labels}"
# The first is the post's, except for the labels. The second is ours.
TEMPLATES = {
    "basic": (
        "당신은 유능한 개체명 인식기(NER)입니다. "
        "입력된 문장에서 개체명을 추출하여 JSON 형식으로 출력하세요. "
        f"개체명 태그는 다음과 같습니다: {LABEL_LIST}. "
        "해당하는 개체명이 없으면 빈 JSON '{}'을 출력하세요."
    ),
    "marked": (
        "당신은 유능한 개체명 인식기(NER)입니다. "
        "입력된 문장을 그대로 옮겨 쓰되, 개체명을 <개체명:태그> 형식으로 표시하세요. "
        f"개체명 태그는 다음과 같습니다: {LABEL_LIST}."
    ),
}
# The post's second one. Its rules and its example are about KLUE's labels.
STRICT = (
    "당신은 엄격한 기준을 가진 개체명 인식기(NER)입니다.\n"
    "입력 문장에서 다음 태그에 해당하는 단어만 정확히 추출하여 JSON으로 출력하세요.\n"
    "태그: PS(사람), LC(장소), OG(기관), DT(날짜), TI(시간), QT(수량)\n\n"
    "*** 주의사항 ***\n"
    "1. '탐정', '엔딩크레딧', '시민', '선수' 같은 일반 명사는 절대 추출하지 마세요.\n"
    "2. 문장에 없는 단어를 만들어내거나 요약하지 마세요.\n"
    "3. 날짜나 수량은 문장에 적힌 그대로(단위 포함) 가져오세요.\n"
    "4. 해당하는 개체명이 없으면 빈 리스트를 반환하세요.\n\n"
    "[예시]\n"
    "입력: 명탐정 코난은 추리를 잘한다.\n"
    '출력: {"PS": ["코난"], "QT": [], "OG": [], "LC": [], "DT": [], "TI": []}\n'
    "(설명: '명탐정'은 직업이므로 추출하지 않음)\n\n"
    "이제 분석하세요."
)


def write_system_prompt(name: str, labels: Mapping[str, str] = LABELS) -> str:
    """The system prompt `name`, "basic" or "marked", that asks for these labels.

    `labels` are descriptions by name, in the prompt's order. An empty description is left out.

    >>> write_system_prompt("marked", {"상품": "", "BR": "브랜드"}).endswith("상품, BR(브랜드).")
    True
    """
    listed = [f"{label}({text})" if text else label for label, text in labels.items()]
    return TEMPLATES[name].replace(LABEL_LIST, ", ".join(listed))


# Those for KLUE's labels.
SYSTEM_PROMPTS = {
    "basic": write_system_prompt("basic"),
    "strict": STRICT,
    "marked": write_system_prompt("marked"),
}
JSON_PROMPTS = ["basic", "strict"]


def build_prompt(sentence: str, system_prompt: str) -> list[dict]:
    """The messages before the answer, the same in training and in use."""
    return [
        {"role": "system", "content": system_prompt},
        {"role": "user", "content": sentence},
    ]
