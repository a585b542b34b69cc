"""A grader whose answers are known: an Inspect provider of the tests, `scripted/<what it says>`."""

from __future__ import annotations

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

FAILS = "fails"


@modelapi("scripted")
class Scripted(ModelAPI):
    """Says the name it was given, with blanks for underscores; `fails` raises instead."""

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: ARG002 - the protocol of Inspect
        tools: list[ToolInfo],  # noqa: ARG002
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,  # noqa: ARG002
    ) -> ModelOutput:
        """Answer; usage is given, because counting tokens would need the network."""
        if self.model_name.startswith(FAILS):
            raise PermissionError("no key")
        output = ModelOutput.from_content(self.model_name, self.model_name.replace("_", " "))
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output
