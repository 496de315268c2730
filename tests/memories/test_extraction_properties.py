"""Whatever a model answers: nothing known is lost, nothing forbidden is done, and all of it is accounted for."""

from collections import Counter

import dspy
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fakes import memory_lm
from pydantic import BaseModel

from langmem_dspy.memories.extraction import MemoryManager

KNOWN = [(f"id{i}", f"User owns thing number {i}") for i in range(4)]


class Person(BaseModel):
    name: str = ""
    age: int | None = None
    notes: dict[str, str] = {}


texts = st.one_of(
    st.sampled_from(
        ["", "User likes tea", "user likes TEA!", '{"name": "Ann"}', '{"age": "x"}', "{", "[]", "null", "\x00"]
    ),
    st.text(max_size=20),
)
anything = st.one_of(
    texts, st.none(), st.integers(), st.lists(texts, max_size=2), st.dictionaries(texts, texts, max_size=2)
)
operations = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["insert", "update", "delete", "upsert", "none", "INSERT"])},
            optional={
                "id": st.one_of(st.sampled_from(["m1", "m2", "m4", "m9", "[m3]", ""]), anything),
                "schema_name": st.one_of(st.sampled_from(["Memory", "Person", "person", "Other"]), anything),
                "content": anything,
                "clear": anything,
            },
        ),
        anything,
    ),
    max_size=6,
)
flags = st.fixed_dictionaries({f"enable_{what}": st.booleans() for what in ("inserts", "updates", "deletes")}).filter(
    lambda chosen: any(chosen.values())
)


def run(first, second, **options):
    lm = memory_lm(first, second)
    with dspy.context(lm=lm):
        result = MemoryManager(**options)(messages="I like tea", existing=KNOWN)
    assert lm.engine.calls <= 2
    return result


@settings(max_examples=60, deadline=None)
@given(operations, operations, flags, st.sampled_from([None, [Person]]), st.sampled_from(["multi", "single"]))
def test_no_answer_breaks_what_is_known(first, second, allowed, schemas, kind):
    result = run(first, second, schemas=schemas, kind=kind, **allowed)
    known, now = dict(KNOWN), dict(result.memories)
    kinds = Counter(type(operation).__name__ for operation in result.operations)
    assert len(now) == len(result.memories), "ids are distinct"
    assert allowed["enable_deletes"] or set(known) <= set(now)
    assert allowed["enable_inserts"] or kinds["Insert"] == 0
    assert allowed["enable_updates"] or all(now[i].content == text for i, text in known.items() if i in now)
    assert kinds["Insert"] == len(set(now) - set(known)) and kinds["Delete"] == len(set(known) - set(now))
    assert all(memory.content.model_validate(memory.content.model_dump()) for memory in result.memories)


@settings(max_examples=60, deadline=None)
@given(operations)
def test_every_operation_is_done_or_dropped(asked):
    result = run(asked, [], enable_deletes=True)
    wanted = [one for one in asked if not (isinstance(one, dict) and one.get("op") == "none")]
    read = [one for one in result.dropped if one.op != "reply"]
    if len(read) == len(result.dropped):  # the reply was read at all
        done = len(wanted) - len(read)
        assert done >= 0 and len(result.operations) <= done
