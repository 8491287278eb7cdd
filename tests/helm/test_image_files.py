"""What an image leaves out of a package is needed by nothing of it that stays, on the package as installed here."""

import importlib.util
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[2] / "infra/images"
_LEFT_OUT = re.compile(r"find \S+ -name '\*\.so\*' -path '\*/pyarrow/\*' \\\( (.*?) \\\) -delete")


@pytest.mark.parametrize("image", ["platform", "mlflow"])
def test_no_library_that_stays_names_one_that_is_left_out(image: str) -> None:
    found = _LEFT_OUT.search((IMAGES / f"{image}.Dockerfile").read_text())
    assert found is not None
    patterns = re.findall(r"-name '([^']+)'", found[1])
    spec = importlib.util.find_spec("pyarrow")
    assert spec is not None
    assert spec.origin is not None
    libraries = list(Path(spec.origin).parent.glob("*.so*"))
    left_out = {file.name for file in libraries if any(fnmatch(file.name, each) for each in patterns)}
    assert left_out, patterns
    # A library is named in another one's table of what it needs by its own name.
    needed = {
        (file.name, name)
        for file in libraries
        if file.name not in left_out
        for name in left_out
        if name.encode() + b"\0" in file.read_bytes()
    }
    assert needed == set()
