"""Methods of a lab that measure it: the check-up, speed, needles, causal maps, scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.chat.methods import ChatMethods
from ..models.chat.options import PromptOptions, RequestOptions, spelled_out
from ..trace.run.edit_methods import EditMethods
from ..trace.run.methods import TraceMethods

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal, Unpack

    from ..models.chat.request_builder import PromptLike
    from ..planning.measurement import SpeedReport
    from .causal.causal_map import CausalMap
    from .causal.cells import Part, Span
    from .causal.map_records import Patching
    from .needle_in_a_haystack import Haystack
    from .report import Checkup
    from .scan.scan import Scan


class EvalMethods(ChatMethods, TraceMethods, EditMethods):
    """Measure the model."""

    last_checkup: Checkup | None
    last_causal_map: CausalMap | None

    def checkup(
        self, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
    ) -> Checkup:
        """Evaluate the model on held-out questions with greedy decoding, and grade the answers.

        After an interrupt ``lab.last_checkup`` has the answers so far.

        Parameters
        ----------
        full
            All 200 questions per skill instead of the first 20.
        skills
            Names of skills; by default all that are asked once and whose modality the model has. ``"calls"``
            and ``"json"`` are asked without and with a grammar: ``checkup.structured`` compares both. Asked
            only if they are named, too: ``"large digits"`` (at 140, 280 and 560 soft tokens), ``"which"`` and
            ``"when"`` (of motion), ``"instructions"`` (a system prompt that sets the form of the answer), and
            ``"abstention"`` (greetings, and requests that a mini cannot serve).
        progress
            Show a progress bar.

        Returns
        -------
        Checkup
            Scores with 95 % intervals, failures, a figure, and the skills that were left out, with reasons.

        Raises
        ------
        LabError
            If a skill does not exist.
        """
        from .run import checkup

        return checkup(self, full=full, skills=skills, progress=progress)

    def speed(self, *, depths: Sequence[int] = (0, 512, 2048), repeats: int = 8) -> SpeedReport:
        """Measure the speed of prefill and decoding on this machine, and compare it with the plan.

        Parameters
        ----------
        depths
            Numbers of tokens in the cache at which to measure.
        repeats
            Number of decoding steps timed at each depth.

        Returns
        -------
        SpeedReport
            Measured and predicted speed; ``to_csv()`` gives rows of the shared table of runs.

        Raises
        ------
        LabError
            If a depth is beyond the context.
        """
        from .timing import speed

        return speed(self, depths=depths, repeats=repeats)

    def needles(
        self,
        *,
        lengths: Sequence[int] = (128, 256, 512, 1024, 2048),
        depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        asked: int = 5,
        others: int = 9,
        seed: int = 0,
        progress: bool = True,
    ) -> Haystack:
        """Run a needle-in-a-haystack test: retrieve a fact at each depth of texts of each length.

        Parameters
        ----------
        lengths, depths
            The grid: tokens of the text, and the relative position of the fact in it.
        asked
            Questions per cell, each about a separate text.
        others, seed
            As for `gemma_lab.evals.needle_in_a_haystack.needle`.
        progress
            Show a progress bar.

        Returns
        -------
        Haystack
            Right answers per cell, a table and a figure.

        Raises
        ------
        LabError
            If the grid is empty, or a number out of range.
        ContextFull
            If a text does not fit the context.
        """
        from .needle_in_a_haystack import needles

        return needles(
            self, lengths=lengths, depths=depths, asked=asked, others=others, seed=seed, progress=progress
        )

    @spelled_out(PromptOptions)
    def causal_map(
        self,
        clean: PromptLike,
        corrupted: PromptLike,
        *,
        answer: str | Sequence[int] | None = None,
        answer_tokens: int = 1,
        patching: Patching = "denoising",
        parts: Part | Literal["all"] | Sequence[Part] = "residual",
        spans: int | Sequence[Span] | None = None,
        positions: Sequence[int] | None = None,
        method: Literal["exact", "gradient"] = "exact",
        controls: int | Iterable[PromptLike] = 19,
        seed: int = 0,
        batch_size: int | None = None,
        progress: bool = True,
        **options: Unpack[PromptOptions],
    ) -> CausalMap:
        """Patch every part of a run from another run, and measure what that does to the answer.

        Many patches are run in each forward pass, each from its layer and first token on. After an interrupt
        ``lab.last_causal_map`` has the cells so far; the others are NaN.

        Parameters
        ----------
        clean, corrupted
            Two prompts of equally many tokens that differ in what the answer depends on. Prompts with media
            are requests: ``lab.request(prompt, images=[…])``.
        answer
            What is measured: its log-probability after the prompt, summed over its tokens. Text or token ids;
            by default the beginning of the model's own greedy answer to the clean prompt, which must not be
            a thought.
        answer_tokens
            Number of tokens of that.
        patching
            ``"denoising"`` writes activations of the clean run into the corrupted one: what is enough for the
            answer. ``"noising"`` does it the other way round: what the answer needs.
        parts
            What is patched in every layer: ``"residual"`` (the residual stream after it), ``"attention"``,
            ``"mlp"`` (the dense branch), ``"experts"`` (their sum), each by span of tokens; ``"head"`` and
            ``"expert"``, each alone, at all `positions`; several of them, or ``"all"``.
        spans
            Spans of tokens: ``(start, stop)`` pairs, or how many tokens each has. By default one token each,
            or as many as make 128 spans.
        positions
            The tokens at which heads and experts are patched; negative ones count from the end, all by
            default.
        method
            ``"exact"`` runs every cell. ``"gradient"`` approximates all of them from one backward pass;
            `CausalMap.agreement` tells how well.
        controls
            How many controls to draw, in which patches come from runs that know nothing of the answer (see
            `CausalMap`), or a list of prompts of the same length to take. Each takes as long as the map. With
            19, a cell that stands out does so at p = 0.05, corrected for all cells of its part.
        seed
            Of the controls.
        batch_size
            Patches per forward pass at most. Default: what takes a third of the free memory.
        progress
            Show a progress bar.
        **options
            As for `chat`, for both prompts: those that decide what the model reads.

        Returns
        -------
        CausalMap
            A heat map, a table, and what stands out. `gemma_lab.CausalExplorer` opens the trace behind a
            cell.

        Raises
        ------
        BadPrompt
            If the prompts do not align, with their numbers of tokens.
        ContextFull, DoesNotFit
            If they cannot be read in one pass.
        LabError, TypeError
            If they do not differ, an edit bound to positions is active (a patch, steering, an attention
            knockout; edits of experts and heads are part of the map), an argument is out of range, or as
            `chat` raises.

        Examples
        --------
        >>> clean = "The code of Zoe is 52. The code of Ben is 75. Tell me the code of Ben."
        >>> found = lab.causal_map(clean, clean.replace("75", "31"))
        >>> found.figure()
        """
        from .causal.run import causal_map

        return causal_map(
            self,
            clean,
            corrupted,
            answer=answer,
            answer_tokens=answer_tokens,
            patching=patching,
            parts=parts,
            spans=spans,
            positions=positions,
            method=method,
            controls=controls,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
            **options,
        )

    @spelled_out(RequestOptions, max_new_tokens=32, temperature=0.0)
    def scan(
        self,
        prompt: PromptLike = None,
        *,
        draws: int = 99,
        progress: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Scan:
        """Answer a prompt and return what stands out in the run, on one page.

        The answer, its uncertain tokens, attention sinks, kinds of heads, the load of experts, the logit
        lens, and what the answer loses without the best heads and experts: each beside what chance or a
        control gives, with the number of tests that were corrected for.

        Parameters
        ----------
        prompt, **options
            As for `chat`, but by default the answer is at most 32 tokens long (``max_new_tokens=32``), and
            decoding is greedy (``temperature=0``). The seed is that of the random sets, too.
        draws
            Random sets of heads, and of experts, that are knocked out as controls: the prompt and its answer
            are read once for each. The smallest p value of both tests together is ``2 / (draws + 1)``. 0
            leaves the knock-outs out.
        progress
            Show a progress bar.

        Returns
        -------
        Scan
            A page; ``gl.ScanExplorer(scan)`` has the trace with it, in which each finding selects its tokens.

        Raises
        ------
        LabError, TypeError
            As `trace` does; also if `max_new_tokens` is 0.

        Examples
        --------
        >>> scan = lab.scan("Ada has the lemon. Ben has the pear. What does Ada have?")
        >>> scan.finding("head knock-out").result
        """
        from .scan.run import scan

        return scan(self, prompt, draws=draws, progress=progress, **options)
