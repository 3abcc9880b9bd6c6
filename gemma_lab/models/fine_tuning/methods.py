"""Methods of a lab that train and switch adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from .adapter import Adapter
    from .adapters import Adapters
    from .progress import TrainingProgress


class FineTuningMethods(LoadedModel):
    """Train adapters, and switch between them."""

    last_adapter: Adapter | None

    def fine_tune(
        self,
        examples: Iterable[Any],
        *,
        targets: str | Sequence[str] = ("attention",),
        name: str = "adapter",
        rank: int = 8,
        alpha: float | None = None,
        learning_rate: float = 2e-4,
        steps: int | None = None,
        minutes: float | None = None,
        batch_size: int = 8,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        gradient_checkpointing: bool = False,
        on_progress: Callable[[TrainingProgress], Any] | None = None,
        progress: bool = True,
    ) -> Adapter:
        """Train a LoRA adapter on examples with PEFT, and make it the active one.

        The loss is on answers only. Their prompts are rendered as in `chat`, to the same token ids. The
        adapter is trained on the base model: an active adapter is replaced, and stays in `adapters`. After an
        interrupt ``lab.last_adapter`` is the adapter as far as it was trained, and no adapter is active.

        Parameters
        ----------
        examples
            Pairs ``(prompt, answer)``; or mappings with ``prompt`` and ``answer``, and as needed ``thinking``
            (the thoughts before the answer), ``calls``, and the options of `chat` that the model reads:
            ``images``, ``video``, ``audio``, ``system``, ``tools``, ``max_soft_tokens``, ``raw``; or
            ``{"messages": […]}`` whose last message is the model's; or a `Reply`. Each message of the model
            is one answer, with what precedes it as its prompt. A bare text is learned as a whole.
        targets
            What is trained: ``"attention"``, ``"mlp"`` (the dense feed-forward blocks), ``"experts"``,
            ``"router"``, ``"vision"``, ``"audio"``, or several of them.
        name
            Name of the adapter in `adapters`; a number is appended if there is one of that name.
        rank, alpha
            The update of each weight is ``alpha / rank · B @ A`` with factors of this rank. `alpha` is twice
            the rank by default.
        learning_rate
            Its maximum: it rises over the first twentieth of the run and falls to a tenth along a cosine.
        steps, minutes
            Number of updates, or time after which training ends; three passes over the examples by default.
        batch_size
            Examples per update.
        seed
            Of the adapter's first values and of the order of the examples.
        checkpoint
            Folder where the state is saved every minute, at an interrupt and at the end.
        resume
            Go on from the state in that folder, if there is one. With `steps`, the result is that of a run
            without interruption.
        gradient_checkpointing
            Compute layers again for the gradients instead of keeping their activations: less memory, about a
            third more time.
        on_progress
            Called with a `TrainingProgress` after every step.
        progress
            Show a progress bar, and in a notebook the loss curve while it grows.

        Returns
        -------
        Adapter
            Loss curve, targets, `Adapter.check`, `Adapter.merge`, `Adapter.save`.

        Raises
        ------
        MissingExtra
            Without PEFT (``pip install 'gemma_lab[fine-tuning]'``).
        DoesNotFit
            If training takes more memory than is free, estimated before it starts; the message has the
            numbers.
        LabError
            If a target does not exist in the model (the hint lists those that do), an example is of no known
            form, no example reaches a target, or the loss is not finite.
        BadPrompt, BadMedia, ContextFull
            As `chat` raises, with the index of the example.

        Warns
        -----
        AdapterWarning
            If a tensor had no gradient in any step, or the adapter changes nothing.

        Examples
        --------
        >>> adapter = lab.fine_tune([("What is XIV?", "14"), ("What is IX?", "9")], targets="attention")
        >>> adapter.check().passed
        True
        """
        from .fine_tune import fine_tune

        return fine_tune(
            self,
            examples,
            targets=targets,
            name=name,
            rank=rank,
            alpha=alpha,
            learning_rate=learning_rate,
            steps=steps,
            minutes=minutes,
            batch_size=batch_size,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            gradient_checkpointing=gradient_checkpointing,
            on_progress=on_progress,
            progress=progress,
        )

    @property
    def adapters(self) -> Adapters:
        """The adapters of this lab, of which at most one is active: list, switch, load and unload them."""
        from .adapters import adapters_of

        return adapters_of(self)
