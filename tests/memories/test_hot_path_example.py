import asyncio
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "hot_path_agent.py"


def test_the_agent_answers_in_a_later_thread_from_what_it_saved_in_an_earlier_one(capsys):
    asyncio.run(runpy.run_path(str(EXAMPLE))["main"]())
    first, _, rest = capsys.readouterr().out.partition("--- ann, friday")
    later, _, _ = rest.partition("--- bob")
    assert first.count("manage_memory") == 2 and "search_memory" not in first
    assert later.count("search_memory") == 2 and "pumpkin" not in later
    assert "As far as I know: The user really likes shoo-fly pie" in later
    assert "As far as I know: The user's sister is allergic to walnuts" in later
