"""What people say of themselves in a conversation, as statements in the third person; and what those are about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_TURN = re.compile(r"^(user|human|assistant|ai|system|tool)(?: \([^)]*\))?: ?", re.IGNORECASE | re.MULTILINE)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_CLAUSE = re.compile(r",? (?:and|but|so) (?=(?:I|my)\b)|; ", re.IGNORECASE)
_FIRST_PERSON = re.compile(r"\b(?:I|my|me|mine)\b|\bI'", re.IGNORECASE)
_NO_STATEMENT = re.compile(
    r"^(?:what|who|when|where|why|how|which|do|does|did|can|could|would|will|should|is|are|am|please|thanks?|thank|hi|"
    r"hello|hey|ok|okay|sure|show|tell|give|let|help|i (?:wonder|was wondering|think so|see|guess)|(?:write|find|make)"
    r" me)\b",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"^(?:(?:please )?(?:remember|note)(?: that)?|by the way|btw|well|actually|also|now|oh|and|so|but)[,:]? +", re.I
)

_MODALS = "can|could|should|must|may|might|would|will|cannot|never|was|had|did|need not"
_ADVERBS = r"(?:(?:\w+ly|always|often|also|still|just|never|now) )*"
_PAST = frozenset(
    ("moved", "went", "got", "bought", "met", "saw", "left", "took", "made", "said", "knew", "lost", "found", "won")
)
_PERSONS = (
    (r"\bI'm\b|\bI am\b", "the user is"),
    (r"\bI've\b|\bI have\b", "the user has"),
    (r"\bI'll\b", "the user will"),
    (r"\bI'd\b", "the user would"),
    (r"\bI (?:don't|do not)\b", "the user does not"),
    (rf"\bI ({_MODALS})\b", r"the user \1"),
    (r"\bmy\b", "the user's"),
    (r"\bmine\b", "the user's"),
    (r"\bmyself\b", "themself"),
    (r"\bme\b", "the user"),
)


def user_turns(conversation: str) -> list[str]:
    """What the user says; all of the text where no one's turns are marked."""
    pieces = _TURN.split(conversation)
    if len(pieces) == 1:
        return [conversation]
    turns = zip(pieces[1::2], pieces[2::2], strict=True)
    return [said.strip() for role, said in turns if role.lower() in ("user", "human")]


def statements(conversation: str) -> list[str]:
    """Each thing the user says of themself, in the third person, once and in order."""
    found = []
    for turn in user_turns(conversation):
        for sentence in SENTENCE_END.split(turn):
            if sentence.rstrip().endswith("?"):
                continue
            found += [clause for part in _CLAUSE.split(sentence) if (clause := _statement(part))]
    return list(dict.fromkeys(found))


def is_question(text: str) -> bool:
    """Whether it asks for something rather than telling it."""
    return "?" in text or (not statements(text) and bool(_NO_STATEMENT.match(text.strip())))


def _statement(sentence: str) -> str:
    said = _OPENER.sub("", sentence.strip().strip("\"'")).rstrip(" .!,;")
    if _NO_STATEMENT.match(said) or not _FIRST_PERSON.search(said) or len(said.split()) < 3:
        return ""
    return third_person(said)


def third_person(said: str) -> str:
    """A sentence in the first person, told of the user."""
    for pattern, told in _PERSONS:
        said = re.sub(pattern, told, said, flags=re.IGNORECASE if pattern.startswith(r"\bm") else 0)
    said = re.sub(rf"\bI ({_ADVERBS})(\w+)", lambda m: f"the user {m.group(1)}{_conjugated(m.group(2))}", said)
    return said[:1].upper() + said[1:]


def _conjugated(verb: str) -> str:
    if verb in _PAST or verb.endswith("ed"):
        return verb
    if verb.endswith(("s", "sh", "ch", "x", "o")):
        return verb + "es"
    return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"


# --- what a statement is about ---

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Negations are none of them: they are all that tells a taste from a distaste.
_FUNCTION = """
a an the is are was were be been am do does did has have had will would can could should i you he she it we they me my
mine your his her its our their this that these those there of to in on at for with from by as and or but so if then
than very really also just user user's what who when where why how which about any some all please tell know remember s
"""
_FUNCTION_WORDS = frozenset(_FUNCTION.split())
_TASTE = re.compile(
    r"\b(?:does not |never |no longer )?(?:likes?|loves?|enjoys?|prefers?|hates?|dislikes?|adores?)\b", re.I
)
_SINGLE = (
    ("home", re.compile(r"\b(?:lives? in|moved to|moves to|is based in|lives? at)\b", re.I)),
    ("name", re.compile(r"\b(?:name is|is called|is named)\b", re.I)),
    ("job", re.compile(r"\b(?:works? (?:at|for|as)|job is|profession is)\b", re.I)),
    ("age", re.compile(r"\b\d+ years old\b", re.I)),
)
_OWN = re.compile(r"\buser's ((?:\w+ ){1,3}?)(?:is|are|was)\b", re.I)


@dataclass(frozen=True)
class Topic:
    """What a statement is about; of one topic only one statement holds at a time."""

    kind: str
    words: frozenset[str] = frozenset()

    def same_as(self, other: Topic) -> bool:
        if self.kind != other.kind:
            return False
        if self.kind != "taste":
            return self.words == other.words
        smaller = min(len(self.words), len(other.words))
        return smaller > 0 and len(self.words & other.words) == smaller


@lru_cache(maxsize=4096)
def topic(statement: str) -> Topic | None:
    """The topic of a statement; None where several may hold side by side."""
    for kind, pattern in _SINGLE:
        if pattern.search(statement) and "user's" not in statement.lower().replace("user's name", ""):
            return Topic(kind)
    if match := _OWN.search(statement):
        return Topic("own", frozenset(content_words(match.group(1))))
    if match := _TASTE.search(statement):
        return Topic("taste", frozenset(content_words(statement[match.end() :])))
    return None


def content_words(text: str) -> list[str]:
    """The words that carry meaning, in lower case without plural endings, each once and in order."""
    return list(_content_words(text))


@lru_cache(maxsize=4096)
def _content_words(text: str) -> tuple[str, ...]:
    found = [_singular(word) for word in _WORD.findall(text.lower().replace("’", "'"))]
    return tuple(dict.fromkeys(word for word in found if word not in _FUNCTION_WORDS))


def _singular(word: str) -> str:
    word = word.removesuffix("'s")
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
