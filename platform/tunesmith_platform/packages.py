"""Which packages are installed here, against what the distribution asks for. Knows no other part of a machine."""

import importlib.metadata
from enum import StrEnum

from pydantic import BaseModel


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(BaseModel):
    """What one check found."""

    what: str
    verdict: Verdict
    found: str
    cure: str = ""


def finding(what: str, found: str, verdict: Verdict = Verdict.OK, cure: str = "") -> list[Finding]:
    """One finding, as a check returns it."""
    return [Finding(what=what, found=found, verdict=verdict, cure=cure)]


def version(package: str) -> str:
    """A package's installed version; empty without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def pinned(package: str) -> str:
    """The one version of a package that the distribution asks for; empty where it names none."""
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires("tunesmith") or []:
        need = Requirement(line)
        for clause in need.specifier:
            if need.name == package and clause.operator == "==":
                return clause.version
    return ""


def packages(_home: object = None, extras: tuple[str, ...] = ("platform", "jobs")) -> list[Finding]:
    """What the distribution asks for, by its own metadata, against what is installed."""
    from packaging.requirements import Requirement

    findings = []
    wanted = [Requirement(line) for line in importlib.metadata.requires("tunesmith") or []]
    for need in wanted:
        extra = next((e for e in extras if need.marker and need.marker.evaluate({"extra": e})), None)
        if need.name == "tunesmith" or (need.marker and extra is None):
            continue
        cure = f'`pip install -c constraints.txt "tunesmith[{extra or "platform"}]"`'
        try:
            installed = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            findings += finding(need.name, "not installed", Verdict.PROBLEM, cure)
            continue
        # A local build (+cpu, +cu130) is the same version.
        if not need.specifier.contains(installed.split("+")[0], prereleases=True):
            findings += finding(need.name, f"{installed}, needed {need.specifier}", Verdict.PROBLEM, cure)
    return findings or finding("Packages", f"{len(wanted)} needs met")
