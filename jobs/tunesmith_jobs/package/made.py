"""What a packaging says that it has made: every file with its bytes and sha256, and what was proven of each.

Knows manifests, plans and proofs; writes nothing.
"""

from collections.abc import Mapping, Sequence

from tunesmith.artifacts import Manifest
from tunesmith.events import PackageMade
from tunesmith.gguf import ModelPlan, Written
from tunesmith.packaged import FilePart, PackagedFile
from tunesmith_jobs.models.gguf_proof.proof import Proof
from tunesmith_jobs.package.files import FAILED


def package_made(
    uri: str,
    manifest: Manifest,
    proofs: Sequence[Proof],
    written: Mapping[str, Written],
    plans: Mapping[str, ModelPlan],
    told: Mapping[str, tuple[str, str | None]],
) -> PackageMade:
    """The event of a package that lies in the storage.

    Args:
        uri: Where.
        manifest: What was stored.
        proofs: Of each GGUF file, the failed ones too.
        written: By the files' names, the first's where one is split.
        plans: By the same names; adapters have none.
        told: By the same names, what tells a file's inputs, and the package that it was taken from.
    """
    sizes = {file.path: file.bytes for file in manifest.files}
    models = {name for proof in proofs for name in proof.names}
    return PackageMade(
        uri=uri,
        step=manifest.step,
        files=[
            _file(proof, written, plans, sizes).model_copy(
                update=dict(zip(("key", "taken_from"), told.get(proof.file, (None, None)), strict=True))
            )
            for proof in proofs
        ],
        others=[
            FilePart(name=file.path, bytes=file.bytes, sha256=file.sha256)
            for file in manifest.files
            if file.path not in models and not file.path.startswith(f"{FAILED}/")
        ],
    )


def _file(
    proof: Proof, written: Mapping[str, Written], plans: Mapping[str, ModelPlan], sizes: Mapping[str, int]
) -> PackagedFile:
    apart = proof.difference
    return PackagedFile(
        name=proof.file,
        type=proof.type,
        bytes=written[proof.file].bytes,
        sha256=proof.sha256,
        parts=[
            FilePart(name=name, bytes=sizes.get(name, 0), sha256=sha256)
            for name, sha256 in proof.parts.items()
        ],
        verdict=proof.verdict,
        sentence=proof.sentence,
        kl_mean=apart.kl_mean if apart else None,
        kl_p99=apart.kl_p99 if apart else None,
        top1=apart.top1 if apart else None,
        tokens_per_second=proof.tokens_per_second,
        measured_on=proof.measured_on,
        fallbacks=plans[proof.file].fallbacks if proof.file in plans else {},
    )
