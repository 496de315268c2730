"""The files under deploy/ speak of a server that there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from langmem_dspy.cli import serve

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_every_variable_set_for_the_server_is_one_it_reads() -> None:
    read = set(re.findall(r"LANGMEM_DSPY_\w+", Path(serve.__file__).read_text()))
    for file in ("Containerfile", "compose.yaml", "langmem-dspy.service"):
        named = set(re.findall(r"LANGMEM_DSPY_\w+", (DEPLOY / file).read_text()))
        assert named and named <= read, file


def test_the_image_runs_as_nobody_special_and_holds_no_secret() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE) and "HEALTHCHECK" in text and "/ok" in text
    assert not re.search(r"(?i)api_key|secret|password|token", text)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / "langmem-dspy.service"
    command = re.compile(r"^ExecStart=\S+", re.MULTILINE)
    unit.write_text(command.sub(f"ExecStart={sys.executable}", (DEPLOY / unit.name).read_text()))
    done = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "langmem-dspy.service" not in done.stderr, done.stderr
