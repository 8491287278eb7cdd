"""What becomes of a model that is not written here: llama.cpp's own converter is offered, where the machine has it.

Knows parameters and where the program is; starts nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from tunesmith.errors import InvalidInput, NotConvertible
from tunesmith.gguf.converter import OUT_TYPES, found_converter
from tunesmith.spec.package import PackageSpec
from tunesmith.spec.package_problems import not_converted


def leave_to_converter(spec: PackageSpec, error: NotConvertible, given: Sequence[str]) -> None:
    """Leave a model to llama.cpp's converter, where that is wanted and there.

    Args:
        spec: The parameters.
        error: What our own writer says of the model.
        given: What an administrator says starts the program.

    Raises:
        NotConvertible: It is not wanted, or not there: says what to do.
        InvalidInput: It writes no such file.
    """
    program = found_converter(given)
    if not program or not spec.export_gguf or spec.export_lora_gguf:
        raise error
    if spec.external_converter:
        problems = not_converted(spec, tuple(OUT_TYPES))
        if problems:
            raise InvalidInput(problems[0].message, hint=problems[0].hint, problems=problems)
        return
    types = ", ".join(f"`{one}`" for one in OUT_TYPES)
    hint = (
        f"llama.cpp's converter was found (`{Path(program[0]).name}`): `external_converter: true` lets it write the "
        f"file, in {types}, which is then proven as all are."
    )
    offered = [one.model_copy(update={"hint": hint}) for one in error.each_problem()]
    raise NotConvertible(error.message, hint=hint, problems=offered)
