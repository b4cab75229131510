"""The Bedrock URL form to Claude on Bedrock: as `messages`, but the stream is framed as AWS frames it.

Bedrock's own figures stay in the answer: clients of this form read them.
"""

from __future__ import annotations

from functools import partial

from services.translation.callers.bedrock import AWS
from services.translation.through.messages import prepare_in
from services.translation.through.messages_answer import Form

BEDROCK = Form(AWS, metrics=True)

prepare = partial(prepare_in, BEDROCK)
"""`messages.prepare` in this form."""
