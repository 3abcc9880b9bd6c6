"""The method of a lab that runs the tools a model calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...checks import whole_number
from ..chat.options import RequestOptions, check_keywords, spelled_out
from ..chat.request_builder import stop_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..chat.request_builder import PromptLike
    from .runner import Approve, ToolRun


class ChatModel(Protocol):
    """What running tools needs of a model: `gemma_lab.Lab` and `gemma_lab.RemoteLab` have it."""

    last_run: ToolRun | None

    @property
    def last_reply(self) -> Any:
        """The last answer, the partial one after an interrupt."""

    @property
    def chat(self) -> Callable[..., Any]:
        """The method that sends a prompt and returns the answer."""


class ToolMethods:
    """Run tools, with the model's own `chat`."""

    last_run: ToolRun | None

    @spelled_out(RequestOptions)
    def run(
        self: ChatModel,
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
        from .runner import Runner, ToolLoop
        from .toolbox import tools_of

        check_keywords(
            "run", options, RequestOptions, also=("max_rounds", "approve", "timeout", "max_result_chars")
        )
        max_rounds = whole_number("max_rounds", max_rounds, minimum=1)
        runner = Runner(tools_of(tools), approve, timeout, max_result_chars, stop_events(options.get("stop")))
        before = self.last_reply

        def generate(prompt: PromptLike, **options: Any) -> Any:
            nonlocal before
            before = self.last_reply
            return self.chat(prompt, **options)

        loop = ToolLoop(generate, runner, max_rounds)
        self.last_run = None
        try:
            self.last_run = done = loop.run(prompt, **options)
        except BaseException:
            self.last_run = loop.interrupted(None if self.last_reply is before else self.last_reply)
            raise
        return done
