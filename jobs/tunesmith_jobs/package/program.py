"""What the attempts of a packaging do. Drivers read this too: torch is imported by the work alone."""

from tunesmith_jobs.model_work import ModelProgram


class Packaging(ModelProgram):
    """See `ModelProgram`."""

    function = "tunesmith_jobs.package.merging:package"
