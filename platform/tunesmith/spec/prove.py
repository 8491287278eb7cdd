"""Every parameter of proving that a served model is the model, declared once.

The platform makes such a task for weights that answer in llama.cpp and have no proof; anybody may make one too. Knows
parameters; knows nothing of how it is computed.
"""

from tunesmith.spec.kinds import Kind, Room
from tunesmith.spec.model_task import ModelUseSpec

PROOF_TAG = "proof"
"""Of the tasks that the platform makes by itself: lists leave them out."""


class ProveSpec(ModelUseSpec):
    """Hold what llama.cpp computes of a model against the model itself, over some thirty conversations."""


PROVE = Kind(
    name="prove",
    label=("Proof", "一致性证明"),
    spec=ProveSpec,
    behaviour="tunesmith_platform.tasks.kinds.prove:Proving",
    program="tunesmith_serve.proving:Proving",
    room=Room.PROOF,
    next_step="`tunesmith chats names` shows what is proven.",
)
new_proof = PROVE.new
"""What is sent to have a model proven."""
