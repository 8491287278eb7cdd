"""The tasks that the platform makes by itself: lists leave them out unless they are asked for. Knows their tags."""

from tunesmith.spec.checkpoint_scores import SCORE_TAG
from tunesmith.spec.prove import PROOF_TAG

OWN_TAGS = {
    SCORE_TAG: "Evaluations that trainings have made of their checkpoints",
    PROOF_TAG: "Proofs of what chats answer with",
}
"""What each kind of them is, by its tag."""
