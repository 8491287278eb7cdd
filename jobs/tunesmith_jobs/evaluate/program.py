"""What the attempts of an evaluation do. Drivers read this too: torch is imported by the work alone."""

from tunesmith_jobs.model_work import ModelProgram


class Evaluation(ModelProgram):
    """See `ModelProgram`."""

    function = "tunesmith_jobs.evaluate.scoring:evaluate"
