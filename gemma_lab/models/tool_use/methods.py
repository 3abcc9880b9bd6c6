"""The method of a lab that runs the tools a model calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..chat.options import RequestOptions, spelled_out
from ..loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..chat.request_builder import PromptLike
    from .runner import Approve, ToolRun


class ToolMethods(LoadedModel):
    """Run tools."""

    last_run: ToolRun | None

    @spelled_out(RequestOptions)
    def run(
        self,
        prompt: PromptLike,
        *,
        tools: Iterable[Any],
        max_rounds: int = 8,
        approve: Approve | None = None,
        timeout: float = 30.0,
        max_result_chars: int = 20_000,
        **options: Any,
    ) -> ToolRun:
        """Send a prompt with tools, and run the model's calls until it answers without one.

        Only tools that are passed can run, with arguments that satisfy their declaration. Failures (an
        unknown name, invalid arguments, an exception, a time limit, a denied call) are returned to the model
        as the call's result. After an interrupt ``lab.last_run`` has the rounds so far.

        Parameters
        ----------
        prompt
            As for `chat`.
        tools
            Functions (sync or async), `gemma_lab.McpServer` objects, or declarations, which end the run when
            the model calls one.
        max_rounds
            Maximum number of replies.
        approve
            Called with each valid `Call` before it runs: True runs it, False or a reason denies it, a mapping
            runs it with these arguments. None runs all.
        timeout
            Seconds per call.
        max_result_chars
            Maximum length of a result as JSON, characters; a longer one is returned as an error.
        **options
            As for `chat`. ``tool_choice`` applies to the first reply only.

        Returns
        -------
        ToolRun
            Every reply with its executed calls; ``lab.chat(…, previous=run.reply)`` continues.

        Examples
        --------
        >>> def weather(city: str) -> dict:
        ...     "Weather in a city."
        ...     return {"temperature": 21}
        >>> lab.run("What is the weather in Rome?", tools=[weather]).text
        """
        from .runner import run

        return run(
            self,
            prompt,
            tools=tools,
            max_rounds=max_rounds,
            approve=approve,
            timeout=timeout,
            max_result_chars=max_result_chars,
            **options,
        )
