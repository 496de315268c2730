"""The command line: `langmem-dspy`."""

import os


def main() -> None:
    """Entry point of the console script. Errors of ours are told in one line, not as a traceback."""
    # Without it litellm fetches a price list at import, and `mlflow server` can deadlock on a machine without internet.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from langmem_dspy.cli.app import run

    run()
