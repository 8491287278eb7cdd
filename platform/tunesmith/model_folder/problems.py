"""What is wrong with a model folder, in words, with the cures that several checks share."""

from pathlib import Path

from tunesmith.errors import InvalidModel

GGUF = (
    "GGUF is a format for answering, not for training.",
    "Give the folder it was made from, with `config.json` and `*.safetensors`: GGUF's page on the hub names it as its "
    "base model, and `tunesmith models pull OWNER/MODEL` fetches it. A GGUF file can be made after training.",
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib", ".npy", ".npz", ".distcp")
PROGRAMS = (
    ".py",
    ".pyc",
    ".pyo",
    ".pyw",
    ".pyd",
    ".pyx",
    ".so",
    ".dll",
    ".dylib",
    ".sh",
    ".exe",
    ".ipynb",
    ".whl",
    ".egg",
)
CONVERT = (
    "Convert it once where you trust it: `AutoModelForCausalLM.from_pretrained(folder)"
    ".save_pretrained(folder, safe_serialization=True)`, then remove the pickle."
)
UNNEEDED = "Remove it: nothing that is done here needs it."
REMOTE_CODE = (
    "If transformers knows the model's type by itself, delete the `*.py` files and other programs and remove "
    "`auto_map`; else choose a model that it knows."
)


def bad(message: str, hint: str, field: str | None = None) -> InvalidModel:
    """An error that names the file it is about."""
    return InvalidModel(message, hint=hint, field=field or "model_name_or_path")


def refuse_weight_file(given: str) -> None:
    """Refuse what by its name is one weight file, where a model's folder or name is asked for.

    Raises:
        InvalidModel: It is a GGUF file or a pickle.
    """
    suffix = Path(given).suffix.lower()
    if suffix == ".gguf":
        raise bad(f"`{given}` is a GGUF file. {GGUF[0]}", GGUF[1])
    if suffix in PICKLES:
        raise bad(
            f"`{given}` is a pickle, which may run code when it is loaded; give a model folder.", CONVERT
        )
