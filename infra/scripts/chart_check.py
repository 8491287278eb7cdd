"""Tier 3 of the chart's tests: asks a real cluster whether it takes the chart, and prints a table of what it said.

`chart_check.py --kubeconfig FILE` makes a namespace that enforces PodSecurity `restricted`, has the server check every
object of every set of values (server-side, fields that it does not know refused, nothing stored), and asks what each
ServiceAccount may do. With `--install --values FILE` it installs, upgrades, rolls back and uninstalls too, and names
what is left. It touches that namespace alone, and removes it. It needs `helm`, `kubectl` and KubeRay's definitions.

Why not `helm upgrade --dry-run=server`: it was seen to take a value that is not in an enum.
"""

import argparse
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHART = Path(__file__).resolve().parents[2] / "helm" / "tunesmith"
RELEASE = "tunesmith"
_OK, _FAILED, _SKIPPED = "ok", "FAILED", "skipped"
_PARTS = ("platform", "loops", "mlflow", "ray", "data")
_MUST_NOT = (
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("delete", "persistentvolumeclaims"),
    ("list", "nodes"),
    ("create", "rolebindings"),
)
"""What no ServiceAccount of ours may do. Ray's may create no pod: its autoscaler asks the operator to."""
_AUTOSCALER = (("get", "rayclusters.ray.io"), ("patch", "rayclusters.ray.io"), ("list", "pods"))
"""What Ray's needs, by a role that KubeRay makes when it sees the RayCluster."""
_HOLD_DATA = "persistentvolumeclaim/", "secret/tunesmith-secrets"
"""What stays after `helm uninstall`, and is named in the chart's notes."""
_LOOKED_AT = (
    "deployments,statefulsets,jobs,services,configmaps,secrets,persistentvolumeclaims,rayclusters.ray.io"
)


@dataclass(frozen=True)
class Said:
    """What a program said."""

    code: int
    out: str
    err: str

    @property
    def warnings(self) -> list[str]:
        """The server's warnings."""
        return [line for line in self.err.splitlines() if line.startswith("Warning:")]

    @property
    def last(self) -> str:
        """The last line of its errors, which says most."""
        lines = (self.err or self.out).strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


@dataclass(frozen=True)
class Row:
    """A line of the report."""

    step: str
    verdict: str
    detail: str = ""


@dataclass
class Check:
    """The steps, each of which adds lines to the report.

    Args:
        kubectl: Calls kubectl with words and an input.
        helm: Calls helm with words and an input.
        namespace: A name that nobody has.
        values: Files of values by their name.
    """

    kubectl: Callable[[Sequence[str], str], Said]
    helm: Callable[[Sequence[str], str], Said]
    namespace: str
    values: dict[str, list[str]]
    rows: list[Row] = field(default_factory=list)

    def note(self, step: str, is_ok: bool, detail: str = "") -> bool:
        """Add a line; returns its verdict."""
        self.rows.append(Row(step, _OK if is_ok else _FAILED, detail))
        return is_ok

    def begin(self) -> bool:
        """See that the cluster answers, that KubeRay is there, and make the namespace."""
        version = self.kubectl(["version", "-o", "json"], "")
        found = json.loads(version.out).get("serverVersion", {}) if version.code == 0 else {}
        if not self.note(
            "the cluster answers", bool(found), found.get("gitVersion", version.last if not found else "")
        ):
            return False
        kuberay = self.kubectl(["get", "crd", "rayclusters.ray.io", "-o", "name"], "")
        if not self.note(
            "KubeRay's definitions are there", kuberay.code == 0, "" if kuberay.code == 0 else kuberay.last
        ):
            return False
        level = "pod-security.kubernetes.io"
        labels = {f"{level}/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        made = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": labels},
        }
        done = self.kubectl(["create", "-f", "-"], json.dumps(made))
        return self.note(
            "a namespace that enforces `restricted`",
            done.code == 0,
            self.namespace if done.code == 0 else done.last,
        )

    def admitted(self) -> None:
        """Have the server look at every object of every set of values."""
        for name, words in self.values.items():
            step = f"{name}: every object is admitted, without a warning"
            given = self.helm(["template", RELEASE, str(CHART), "-n", self.namespace, *words], "")
            if given.code != 0:
                self.note(step, False, given.last)
                continue
            apply = [
                "apply",
                "-n",
                self.namespace,
                "--server-side",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ]
            done = self.kubectl(apply, given.out)
            # Without Prometheus' operator its kinds are unknown, which says nothing of ours.
            lines = [line for line in done.err.splitlines() if line.strip()]
            unknown = [
                line for line in lines if "no matches for kind" in line and "monitoring.coreos.com" in line
            ]
            other = [
                line
                for line in lines
                if line not in unknown and "ensure CRDs are installed first" not in line
            ]
            is_ok = not other and (done.code == 0 or bool(unknown))
            count = f"{sum('serverside-applied' in line for line in done.out.splitlines())} objects"
            detail = f"{count}, ServiceMonitor not known here" if unknown else count
            self.note(step, is_ok, detail if is_ok else other[-1] if other else done.last)

    def may(self, part: str, verb: str, what: str) -> bool:
        """Whether a ServiceAccount of ours may do something."""
        who = f"system:serviceaccount:{self.namespace}:{RELEASE}-{part}"
        words = ["auth", "can-i", verb, what, "-n", self.namespace, f"--as={who}"]
        return self.kubectl(words, "").out.strip().endswith("yes")

    def bounded(self) -> None:
        """Ask what no ServiceAccount may do."""
        for part in _PARTS:
            found = [f"{verb} {what}" for verb, what in _MUST_NOT if self.may(part, verb, what)]
            self.note(f"`{RELEASE}-{part}` may do nothing that it must not", not found, ", ".join(found))

    def lives(self, words: list[str], seconds: int) -> None:
        """Install, upgrade, roll back and uninstall."""
        common = ["-n", self.namespace, "--wait", f"--timeout={seconds}s"]
        steps = (
            ("it installs", ["install", RELEASE, str(CHART), *words, *common]),
            (
                "it upgrades",
                ["upgrade", RELEASE, str(CHART), *words, *common, "--set", "platform.replicas=2"],
            ),
            ("it rolls back", ["rollback", RELEASE, "1", *common]),
        )
        is_installed = False
        for step, command in steps:
            done = self.helm(command, "")
            is_installed = is_installed or command[0] == "install"
            if not self.note(step, done.code == 0, "" if done.code == 0 else done.last):
                break
        else:
            lacks = [f"{verb} {what}" for verb, what in _AUTOSCALER if not self.may("ray", verb, what)]
            self.note("Ray's autoscaler may do what it needs", not lacks, ", ".join(lacks))
            self.bounded()  # with every role that the chart and KubeRay have made
        if is_installed:
            done = self.helm(
                ["uninstall", RELEASE, "-n", self.namespace, "--wait", f"--timeout={seconds}s"], ""
            )
            self.note("it uninstalls", done.code == 0, "" if done.code == 0 else done.last)
            self.left()

    def left(self) -> None:
        """See that nothing is left but what holds data."""
        found = self.kubectl(["get", _LOOKED_AT, "-n", self.namespace, "-o", "name"], "").out.split()
        names = [name.replace("persistentvolumeclaims/", "persistentvolumeclaim/") for name in found]
        others = [name for name in names if not name.startswith((*_HOLD_DATA, "configmap/kube-root-ca.crt"))]
        kept = [name for name in names if name.startswith(_HOLD_DATA)]
        self.note("nothing is left but what holds data", not others, ", ".join(others or kept))

    def end(self) -> None:
        """Remove the namespace."""
        done = self.kubectl(["delete", "namespace", self.namespace, "--wait=false"], "")
        self.note("the namespace is removed", done.code == 0, "" if done.code == 0 else done.last)


def run(check: Check, install: list[str] | None, seconds: int) -> list[Row]:
    """Every step.

    Args:
        check: The steps.
        install: Words that choose the values to install with; None installs nothing.
        seconds: How long an install may take.
    """
    if not check.begin():
        return check.rows
    try:
        check.admitted()
        if install is None:
            check.bounded()
            check.rows.append(
                Row("install, upgrade, rollback", _SKIPPED, "asked for by `--install --values FILE`")
            )
        else:
            check.lives(install, seconds)
    finally:
        check.end()
    return check.rows


def table(rows: Sequence[Row]) -> str:
    """The report as lines."""
    width = max(len(row.step) for row in rows)
    return "\n".join(f"{row.verdict:<7}  {row.step:<{width}}  {row.detail}".rstrip() for row in rows)


def caller(*program: str) -> Callable[[Sequence[str], str], Said]:
    """Calls a program."""

    def call(words: Sequence[str], given: str) -> Said:
        try:
            done = subprocess.run(
                [*program, *words], check=False, capture_output=True, text=True, input=given
            )
        except FileNotFoundError:
            return Said(127, "", f"`{program[0]}` is not installed.")
        return Said(done.returncode, done.stdout, done.stderr)

    return call


def sets(registry: str) -> Iterator[tuple[str, list[str]]]:
    """The sets of values, by name, and the words that choose each."""
    prefix = ["--set", f"images.registry={registry}"]
    yield "smallest", prefix
    for path in sorted((CHART / "values").glob("*.yaml")):
        yield path.stem, ["-f", str(path), *prefix]


def main() -> None:
    """Ask the cluster, and end with 1 where something failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kubeconfig", required=True, type=Path, help="How the cluster is reached.")
    parser.add_argument("--registry", default="registry.example", help="The prefix of your images.")
    parser.add_argument(
        "--install", action="store_true", help="Install, upgrade, roll back and uninstall too."
    )
    parser.add_argument("--values", action="append", default=[], help="Your values, for `--install`.")
    parser.add_argument("--seconds", type=int, default=900, help="How long an install may take.")
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    wanted = parser.parse_args()
    if not wanted.kubeconfig.is_file():
        parser.error(f"there is no file `{wanted.kubeconfig}`")
    check = Check(
        caller(wanted.kubectl, f"--kubeconfig={wanted.kubeconfig}"),
        caller(wanted.helm, f"--kubeconfig={wanted.kubeconfig}"),
        f"tunesmith-check-{secrets.token_hex(3)}",
        dict(sets(wanted.registry)),
    )
    words = [
        "--set",
        f"images.registry={wanted.registry}",
        *(w for each in wanted.values for w in ("-f", each)),
    ]
    rows = run(check, words if wanted.install else None, wanted.seconds)
    print(json.dumps([asdict(row) for row in rows], indent=1) if wanted.json else table(rows))
    sys.exit(any(row.verdict == _FAILED for row in rows))


if __name__ == "__main__":
    main()
