"""What the reviewer makes of a request: which rules it takes up, and into which prompt each should go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langmem_dspy.simulation.advice import shared_words
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question
from langmem_dspy.simulation.roles.documents import Document, belongs, documents
from langmem_dspy.simulation.roles.evidence import Claim, claims, flows, is_conclusion
from langmem_dspy.simulation.roles.sections import sections
from langmem_dspy.simulation.rules import Rule


@dataclass(frozen=True)
class Finding:
    """A rule the reviewer takes up, for the prompt of this name ("" where only one is under review)."""

    rule: Rule
    document: str
    times: int
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Review:
    """A request, reviewed. `original` is what the first document was made from, where the request shows both."""

    task: str
    documents: tuple[Document, ...]
    original: Document | None
    taken: tuple[Finding, ...]

    @property
    def blamed(self) -> list[str]:
        """The names of the prompts that should change."""
        return list(dict.fromkeys(finding.document for finding in self.taken))

    def rules_for(self, document: Document) -> list[Rule]:
        return [finding.rule for finding in self.taken if finding.document == document.name]


def review_of(question: Question, profile: Profile, chance: Chance) -> Review:
    """What to make of the request."""
    cut = sections(question)
    docs = documents(cut)
    original = docs[1] if len(docs) == 2 and not docs[0].name and not docs[1].name else None
    under_review = docs[:1] if original else docs
    evidence = [section for section in cut if section.kind == "evidence"]
    told = "\n".join(section.text for section in cut if section.kind == "known")
    known = find_rules(told)
    advised = bool(evidence) and all(is_conclusion(s.text) for s in evidence if s.text.strip())
    said = claims("\n".join(section.text for section in evidence))
    steps = flows(section.text for section in evidence)
    fields = {claim.rule.field for claim in said}
    fits = {
        (claim.rule, document): belongs(claim.rule, document, steps, fields)
        for claim in said
        for document in under_review
    }
    open_claims = [claim for claim in _believed(said, profile, chance) if not claim.rule.stands_in(told, known)]
    placed = [
        Finding(claim.rule, document.name, claim.times, tuple(claim.cases))
        for claim in open_claims
        if (document := _place(claim, under_review, fits, profile, chance, advised)) is not None
        and not claim.rule.stands_in(document.text, document.rules)
    ]
    task = "\n".join(s.text for s in cut if s.kind in ("task", "guidance"))
    return Review(task, tuple(under_review), original, tuple(_noticed(placed, profile, chance, advised)))


def _believed(said: Sequence[Claim], profile: Profile, chance: Chance) -> list[Claim]:
    """The claims without single cases that it does not generalize, and without the losers of contradictions."""
    kept = [
        claim
        for claim in said
        if not claim.correction or claim.rule.when or chance.happens(profile.overgeneralize, "generalize", claim.rule)
    ]
    by_weight = sorted(kept, key=lambda claim: (-claim.times, chance.number("believe", claim.rule)))
    believed: list[Claim] = []
    for claim in by_weight:
        if not any(claim.rule.contradicts(other.rule) for other in believed):
            believed.append(claim)
    return believed


def _place(
    claim: Claim,
    docs: Sequence[Document],
    fits: Mapping[tuple[Rule, Document], bool],
    profile: Profile,
    chance: Chance,
    advised: bool,
) -> Document | None:
    """The prompt the rule should go into, or None for none of these."""
    if not docs:
        return Document("", "")
    if len(docs) == 1 and advised:
        return docs[0]
    named = [document for document in docs if document.name in claim.owners]
    fitting = named or _likeliest([document for document in docs if fits[claim.rule, document]], claim.rule)
    misplaced = chance.happens(profile.misplace, "misplace", claim.rule)
    others = [document for document in docs if document not in fitting]
    if misplaced and others:
        return chance.pick(others, "other prompt", claim.rule)
    return fitting[0] if fitting else None


def _likeliest(fitting: list[Document], rule: Rule) -> list[Document]:
    """Of several prompts that a rule may belong into, those that speak of its field, if any do; for advice, of it."""
    if rule.effect == "advice":
        return sorted(fitting, key=lambda document: -shared_words(rule, document.text))
    return [document for document in fitting if rule.field in document.spoken] or fitting


def _noticed(placed: Sequence[Finding], profile: Profile, chance: Chance, advised: bool) -> list[Finding]:
    """The findings it takes up in one call: the most often said first, a few at most; of advice it misses nothing."""
    notice = 1.0 if advised else profile.notice
    seen = [finding for finding in placed if chance.happens(notice, "notice", finding.rule)]
    seen.sort(key=lambda finding: (-finding.times, chance.number("order", finding.rule)))
    return seen[: profile.follows if advised else profile.takes]
