"""Memory tools for LangChain's models and agents: `model.bind_tools([as_langchain(tool)])`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import InputError
from langmem_dspy.integrations.extras import optional
from langmem_dspy.integrations.tool_arguments import problems, without_nulls
from langmem_dspy.memories.tools import MemoryTool

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool


def as_langchain(tool: MemoryTool) -> StructuredTool:
    """`tool` as LangChain's own kind, with the same name, description and arguments; sync and async.

    Arguments that do not fit the schema are answered with what is wrong, `status="error"`, for the model to mend. All
    other errors are raised: no model can mend a missing user or a broken store. Namespace variables are taken from
    `memory_context`, and from `config["configurable"]`.
    """
    if not isinstance(tool, MemoryTool):
        raise InputError(
            "as_langchain takes a tool of create_manage_memory_tool or create_search_memory_tool, got "
            f"{type(tool).__name__} {tool!r}"
        )
    tools = optional("langchain_core.tools", "langchain")
    schema = _schema(tool)

    def call(**arguments: Any) -> Any:
        return tool(**checked(arguments))

    async def acall(**arguments: Any) -> Any:
        return await tool.acall(**checked(arguments))

    def checked(arguments: dict[str, Any]) -> dict[str, Any]:
        given = without_nulls(arguments)
        if told := problems(given, {**schema, "additionalProperties": False}):
            raise tools.ToolException(f"{tool.name} was not called: {'; '.join(told)}.")
        return given

    made: StructuredTool = tools.StructuredTool(
        name=tool.name,
        description=tool.desc or "",
        args_schema=schema,
        func=call,
        coroutine=acall,
        handle_tool_error=True,
    )
    return made


def _schema(tool: MemoryTool) -> dict[str, Any]:
    function = tool.format_as_litellm_function_call()["function"]
    parameters: dict[str, Any] = function["parameters"]
    return {"title": tool.name, "description": tool.desc or "", **parameters}
