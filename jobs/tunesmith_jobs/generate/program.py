"""What the attempts of a generation do. Drivers read this too: torch is imported by the work alone."""

from tunesmith_jobs.model_work import ModelProgram


class Generation(ModelProgram):
    """See `ModelProgram`."""

    function = "tunesmith_jobs.generate.answering:generate"
