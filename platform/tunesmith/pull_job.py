"""What the control plane hands to a job that pulls a model. No token is in it: the job reads it where it runs."""

from pydantic import Field

from tunesmith.job import AttemptDocument


class PullDocument(AttemptDocument):
    """Everything a pull needs."""

    models_dir: str = Field(description="The models folder, which the job and the platform share.")
    environment: list[str] = Field(
        default_factory=list, description="Variables of the environment that may hold the token."
    )
