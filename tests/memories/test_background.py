import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import CancelledError

import dspy
import pytest
from memory_fakes import insert, memory_lm

from langmem_dspy.errors import InputError, NamespaceError, StoreError
from langmem_dspy.memories.background import ReflectionExecutor
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.namespaces import memory_context
from langmem_dspy.store.faiss_store import FaissStore

TALK = [{"role": "user", "content": "I like pie"}]
NS = ("memories",)


class Noting:
    """A reflector that notes what it is called with."""

    namespace = ("memories", "{user_id}")

    def __init__(self):
        self.calls = []
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, messages, **variables):
        self.calls.append(([m.content for m in messages], variables))
        self.hold.wait(60)
        if variables["user_id"] == "bad":
            raise ValueError("no luck")
        return len(self.calls)


def test_a_conversation_is_reflected_on_in_the_background():
    noting = Noting()
    with ReflectionExecutor(noting) as executor:
        assert executor.submit(TALK, user_id="ann").result(60) == 1
        assert executor.submit({"messages": TALK}, user_id="ann").result(60) == 2
    assert noting.calls[0] == (["I like pie"], {"user_id": "ann"})


def test_it_writes_memories_with_the_model_and_user_of_the_submission():
    with FaissStore() as store, ReflectionExecutor(MemoryStoreManager(namespace=("m", "{user_id}"))) as executor:
        with dspy.context(lm=memory_lm([insert("User likes pie")])), memory_context(store=store, user_id="ann"):
            reflection = executor.submit(TALK)
        (item,) = reflection.result(60)["items"]
        assert item.namespace == ("m", "ann")


def test_a_thread_that_goes_on_is_reflected_on_once_when_it_is_quiet():
    noting = Noting()
    with ReflectionExecutor(noting, delay=0.15) as executor:
        first = executor.submit(TALK, user_id="ann", thread_id="t")
        longer = [*TALK, {"role": "assistant", "content": "Noted"}]
        second = executor.submit(longer, user_id="ann", thread_id="t")
        third = executor.submit([{"role": "user", "content": "and tea"}], user_id="ann", thread_id="t")
        assert first.id == second.id == third.id
        first.result(60)
    assert noting.calls == [(["I like pie", "Noted", "and tea"], {"user_id": "ann", "thread_id": "t"})]


def test_langmems_way_to_name_namespace_user_and_thread_is_not_swallowed():
    noting = Noting()
    with ReflectionExecutor(noting, ("memories", "{langgraph_user_id}")) as executor:
        config = {"configurable": {"langgraph_user_id": "ann", "thread_id": "t"}}
        with pytest.raises(NamespaceError, match="langgraph_user_id"):
            executor.submit({"messages": TALK})
        executor.submit({"messages": TALK}, config, after_seconds=3600)
        (waiting,) = executor.pending()
    assert waiting.namespace == ("memories", "ann") and waiting.thread == "t"


def test_users_and_threads_never_put_each_other_off():
    noting = Noting()
    with ReflectionExecutor(noting) as executor:
        made = [executor.submit(TALK, user_id=u, thread_id=t, after_seconds=0.05) for u in "ab" for t in "12"]
        [one.result(60) for one in made]
    assert len(noting.calls) == 4


def test_more_of_a_thread_under_way_waits_for_its_end():
    noting = Noting()
    noting.hold.clear()
    with ReflectionExecutor(noting, workers=4) as executor:
        first = executor.submit(TALK, user_id="ann", thread_id="t")
        _until(lambda: noting.calls)
        second = executor.submit(TALK, user_id="ann", thread_id="t")
        other = executor.submit(TALK, user_id="bob", thread_id="t")
        _until(lambda: len(noting.calls) == 2)
        assert noting.calls[1][1]["user_id"] == "bob" and first.id != second.id
        noting.hold.set()
        assert second.result(60) and other.result(60)
    assert len(noting.calls) == 3


def test_a_waiting_reflection_can_be_cancelled_and_a_begun_one_not():
    noting = Noting()
    with ReflectionExecutor(noting) as executor:
        waiting = executor.submit(TALK, user_id="ann", after_seconds=60)
        assert waiting.cancel() and not waiting.cancel()
        with pytest.raises(CancelledError):
            waiting.result(1)
        noting.hold.clear()
        begun = executor.submit(TALK, user_id="ann")
        _until(lambda: noting.calls)
        assert not begun.cancel()
        noting.hold.set()
        assert begun.result(60) == 1


def test_drain_does_what_waits_without_further_delay():
    noting = Noting()
    with ReflectionExecutor(noting) as executor:
        for user in "abc":
            executor.submit(TALK, user_id=user, after_seconds=3600)
        assert len(executor.pending()) == 3
        assert executor.drain(5) and executor.pending() == []
        noting.hold.clear()
        executor.submit(TALK, user_id="a")
        assert executor.drain(0.05) is False
        noting.hold.set()
    assert len(noting.calls) == 4


def test_one_that_fails_hurts_nobody_else_and_is_kept_with_its_error():
    noting = Noting()
    with ReflectionExecutor(noting, max_attempts=2, retry_after=0.01, workers=1) as executor:
        bad = executor.submit(TALK, user_id="bad")
        assert executor.submit(TALK, user_id="ann").result(60)
        with pytest.raises(ValueError, match="no luck"):
            bad.result(60)
        (failed,) = executor.failed()
        assert (failed.attempts, failed.error, failed.variables) == (2, "ValueError: no luck", {"user_id": "bad"})
        assert executor.retry_failed() == 1 and executor.drain(5) and len(executor.failed()) == 1


def test_pending_work_outlives_its_executor(tmp_path):
    with ReflectionExecutor(Noting(), path=tmp_path / "pending.sqlite") as executor:
        executor.submit(TALK, user_id="ann", thread_id="t", after_seconds=0.2)
    noting = Noting()
    with ReflectionExecutor(noting, path=tmp_path / "pending.sqlite") as executor:
        assert executor.drain(5)
    assert noting.calls == [(["I like pie"], {"user_id": "ann", "thread_id": "t"})]
    with pytest.raises(StoreError, match="closed"):
        executor.submit(TALK, user_id="ann")


def test_what_is_lost_without_a_file_is_said(caplog):
    with ReflectionExecutor(Noting()) as executor:
        executor.submit(TALK, user_id="ann", after_seconds=60)
    assert "1 reflections were pending in memory and are lost" in caplog.text


def test_a_missing_variable_is_an_error_at_once():
    with ReflectionExecutor(Noting()) as executor, pytest.raises(NamespaceError, match="user_id"):
        executor.submit(TALK)


def test_wrong_settings_are_refused():
    for wrong in ({"workers": 0}, {"delay": -1}, {"max_attempts": 0}):
        with pytest.raises(InputError):
            ReflectionExecutor(Noting(), **wrong)
    with pytest.raises(InputError):
        ReflectionExecutor("not callable")


PROGRAM = """
import os, sys, time
from langmem_dspy.memories.background import ReflectionExecutor

def reflect(messages, **variables):
    os.write(1, b"begun\\n")  # in one piece, as another thread says the same
    time.sleep(600)

executor = ReflectionExecutor(reflect, path=sys.argv[1])
for i in range(3):
    executor.submit([{"role": "user", "content": f"talk {i}"}], thread_id=str(i), after_seconds=float(sys.argv[2]))
os.write(1, b"submitted\\n")
if sys.argv[2] == "0":
    time.sleep(600)
"""


def _program(path, after):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), after]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_pending_and_running_work_survives_a_kill(tmp_path):
    path = tmp_path / "pending.sqlite"
    process = _program(path, "0")
    read = [process.stdout.readline().strip() for _ in range(3)]
    assert sorted(read) == ["begun", "begun", "submitted"]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    said = []

    def reflect(messages):
        said.extend(m.content for m in messages)

    with ReflectionExecutor(reflect, path=path) as executor:
        assert executor.drain(60)
    assert sorted(said) == ["talk 0", "talk 1", "talk 2"]


def test_the_process_exits_although_work_is_pending(tmp_path):
    begun = time.monotonic()
    process = _program(tmp_path / "pending.sqlite", "3600")
    process.communicate(timeout=120)
    assert process.returncode == 0 and time.monotonic() - begun < 120
    with ReflectionExecutor(Noting(), path=tmp_path / "pending.sqlite") as executor:
        assert len(executor.pending()) == 3


def _until(true):
    for _ in range(12_000):
        if true():
            return
        time.sleep(0.005)
    raise TimeoutError


def test_the_store_given_to_an_executor_is_the_one_its_reflector_finds():
    with FaissStore() as store, dspy.context(lm=memory_lm([insert("User likes pie")])):
        with ReflectionExecutor(MemoryStoreManager(), store=store) as executor:
            assert executor.store is store
            executor.submit(TALK).result(60)
        assert [item.value["content"] for item in store.search(NS)] == ["User likes pie"]
        with FaissStore() as other, pytest.raises(InputError, match="leave out one"):
            ReflectionExecutor(MemoryStoreManager(store=other), store=store)


@pytest.mark.parametrize("option", [{"delay": "5"}, {"delay": -1}, {"workers": 0}, {"max_attempts": True}])
def test_numbers_of_an_executor_are_checked(option):
    with pytest.raises(InputError, match=next(iter(option))):
        ReflectionExecutor(Noting(), **option)
