"""A job that works on data: `python -m tunesmith_jobs.data.entry <uri of its document>`.

Reads the document, carries the operation out, and leaves a `DataResult` beside the document, whatever came of it.
Secrets are read from this process's environment, as far as the document allows their names. Needs no Ray and no torch.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from tunesmith.data_step import RESULT, DataDocument, DataResult
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.rows.problems import RowProblem
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.variables import resolve, variables_in
from tunesmith.storage import open_storage
from tunesmith_jobs.data.operations import run

_log = logging.getLogger("tunesmith_jobs.data.entry")


def main(uri: str) -> int:
    """Work as the document says; returns the exit code."""
    folder, _, name = uri.rpartition("/")
    storage = open_storage(folder)
    data = storage.read(name)
    if data is None:
        _log.error("no document lies at `%s`", uri)
        return 1
    document = DataDocument.model_validate_json(data)
    began = perf_counter()
    try:
        parameters = with_environment(document.parameters, document.environment)
        outputs = run(read_operation(document.method, parameters), Path(document.output_dir))
        result = DataResult(outputs=outputs)
    except TunesmithError as error:
        result = DataResult(error=error.message, hint=error.hint)
    except RowProblem as problem:
        result = DataResult(error=problem.message, hint=problem.hint)
    except Exception as error:
        _log.exception("the operation failed")
        result = DataResult(error=f"{type(error).__name__}: {str(error)[-1000:]}")
    result.seconds = perf_counter() - began
    storage.write(RESULT, result.model_dump_json().encode())
    return 1 if result.error else 0


def with_environment(parameters: dict[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    """Parameters with `${env.NAME}` replaced; a variable that is not set counts as not given.

    Raises:
        InvalidInput: One is named that may not be read.
    """
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        wanted = [variable.path[0] for variable in variables_in(value) if variable.source == "env"]
        for variable in wanted:
            if variable not in allowed:
                raise InvalidInput(f"`${{env.{variable}}}` may not be read here.", field=name)
        values = {variable: os.environ.get(variable) for variable in wanted}
        resolved = resolve(value, {"env": values}) if wanted else value
        if resolved is not None and not (wanted and resolved == ""):
            found[name] = resolved
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(main(sys.argv[1]))
