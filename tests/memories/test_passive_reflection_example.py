import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "passive_reflection.py"


def test_the_example_learns_in_one_thread_what_it_answers_in_another(capsys, tmp_path):
    runpy.run_path(str(EXAMPLE))["main"](None, str(tmp_path))
    said = capsys.readouterr().out
    learned, _, later = said.partition("--- friday")
    assert "remembered: The user really likes shoo-fly pie" in learned
    assert "assistant: As far as I know: The user really likes shoo-fly pie" in later
    assert "assistant: As far as I know: The user moved to Lancaster last week" in later
