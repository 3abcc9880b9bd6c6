"""Drills: dense exercises for retrieval, sums, images and tool calls, before questions help."""

from __future__ import annotations

import random
from typing import Any

from ..evals.words import PEOPLE, THINGS
from ..models.media.video import format_timestamp
from .encoding import SKIP, Encoder, Row, filled, timed
from .tasks import Clip, arithmetic, calling, cells, eventful_clips, motion, recall, scenes
from .tasks.cells import UNKNOWN
from .tasks.drawing import draw, paper
from .tokenizer import token_id

_CUES = 9  # about one scene, or at most about one clip
_BOUND = ("changes", "moves", "rests")  # cues about a clip that ask what is bound to what
_BOUND_FIRST = 0.7  # share of clips about which they come first: after others, their answers follow from text
_CALLS = 8  # under one set of declared functions
_FIRST_WORD = 375  # ids below are control tokens, words of the format and bytes


class Drills:
    """Draws packed rows of each drill.

    Parameters
    ----------
    encoder
        The mini's chat format.
    rng
        Source of all random draws.
    """

    def __init__(self, encoder: Encoder, rng: random.Random) -> None:
        self.encoder, self.rng = encoder, rng
        self.most_facts = recall.MAX_FACTS  # of a text to recall from
        tokenizer = encoder.tokenizer
        asked = tokenizer(recall.corpus(), add_special_tokens=False)["input_ids"]
        self._recalled = sorted({token for ids in asked for token in ids})
        words = ([f" {word}" for word in pool] for pool in (PEOPLE, THINGS))
        # such a word cannot be copied token by token: a request has " h" + "all", its call "hall"
        self._recut = tuple(
            word for word in calling.passed_words() if self._pieces(f" {word}") != self._pieces(word)
        )
        self._named = tuple(self._single(pool) for pool in words)

    def repeats(self, *, length: int = 192) -> Row:
        """Return random tokens repeated once, with loss on the repetition: induction heads form on these.

        Half of the rows draw from the few hundred tokens of the recall task, where they form first.
        """
        row = Row("repeats")
        known = self._recalled if self.rng.random() < 0.5 else range(_FIRST_WORD, len(self.encoder.tokenizer))
        repeated = self.rng.randint(6, min(32, (length - 1) // 2))
        while len(row.ids) + 2 * repeated + 1 <= length:
            first = [self.rng.choice(known) for _ in range(repeated)]
            row.ids += [token_id("bos_token"), *first, *first]
            row.labels += [SKIP] * (repeated + 2) + first[
                1:
            ]  # the first repeated token could not be foreseen
        return row

    def pairs(self, *, length: int = 192) -> Row:
        """Return pairs of tokens, then their first halves in another order, with loss on the second halves.

        Half of the rows pair the names and things of the recall task. Recall needs, and repetition does not
        require, retrieval by content instead of distance (multi-query associative recall, Arora et al. 2023,
        arXiv:2312.04927).
        """
        row = Row("pairs")
        keys_of, values_of = self._named if self.rng.random() < 0.5 else (self._recalled, self._recalled)
        many = self.rng.randint(2, min(8, self.most_facts))
        while len(row.ids) + 4 * many + 1 <= length:
            keys = self.rng.sample(keys_of, many)
            found = {key: self.rng.choice(values_of) for key in keys}
            row.ids += [token_id("bos_token"), *(token for pair in found.items() for token in pair)]
            row.labels += [SKIP] * (2 * many + 1)
            for key in self.rng.sample(keys, many):
                row.ids += [key, found[key]]
                row.labels += [SKIP, found[key]]
        return row

    def retold(self, *, length: int = 192) -> Row:
        """Return texts of facts repeated in another order, with loss on the values.

        An intermediate between pairs and questions: the owner of a value precedes it by some words.
        """

        def parts(before: str, value: str) -> tuple[list[int], list[int]]:
            return self.encoder.ids(f" {before.rstrip()}"), self.encoder.ids(f" {value}.")

        return self._looked_up("retold", recall.retold, parts, length)

    def asked(self, *, length: int = 192) -> Row:
        """Return texts of facts, questions about them, and answers after part of the turn between them.

        An intermediate between repeated facts and conversations: between none and all of what the chat format
        puts between question and answer, so that the question must be carried increasingly far.
        """

        def parts(before: str, value: str) -> tuple[list[int], list[int]]:
            prefix = self.encoder.ids(f" {before.rstrip()}") + self._gap(part=1)
            return prefix, [*self.encoder.ids(value), token_id("eot_token")]

        return self._looked_up("asked", recall.asked, parts, length)

    def worked(self, *, length: int = 192) -> Row:
        """Return steps of sums as thoughts write them, with loss on what follows from the sum.

        A dozen steps take the space of three conversations.
        """

        def drawn() -> Row:
            row = Row("worked", [token_id("bos_token")], [SKIP])
            for line in arithmetic.steps(self.rng):
                left, sign, result = line.partition("=")
                before, after = self.encoder.ids(left + sign), self.encoder.ids(f"{result}\n")
                row.ids += before + after
                row.labels += [SKIP] * len(before) + after
            return row

        return filled(drawn, length)

    def shown(self, *, grid: int) -> Row:
        """Return a scene with short cues about it, with loss on the answers.

        As `asked`, for images: a cue such as a shape, part of what the chat format puts between question and
        answer, the colour of that shape in the scene. Many cues take the space of few questions, all of them
        near the image. Without them retrieval of one item among several did not form.

        Parameters
        ----------
        grid
            Soft tokens per side of the image.
        """
        scene = scenes.things(self.rng, False, count=self.rng.randint(1, scenes.MOST), more=True)
        seen = [token_id("boi_token"), *[token_id("image_token")] * grid**2, token_id("eoi_token")]
        row = Row("shown", [token_id("bos_token"), *seen], [SKIP] * (1 + len(seen)))
        row.images.append(draw(scene, size=scenes.SIDE, background=paper(self.rng)))
        row.news, row.pictures, row.series = [UNKNOWN] * grid**2, [{"count": len(scene) - 1}], [1]
        for _ in range(_CUES):
            cue, answer = scenes.cue(self.rng, scene)
            before = self.encoder.ids(f" {cue}") + self._gap(none=2 / 3, part=1)
            after = self.encoder.ids(answer)
            row.ids += [*before, *after, token_id("eot_token")]
            row.labels += [SKIP] * len(before) + after + [SKIP]
        return row

    def watched(self, *, grid: int) -> Row:
        """Return a clip with short cues about it, with loss on the answers.

        As `shown`, for clips. What is seen must be bound to when (`gemma_lab.minis.soft_token_probe`): cues
        ask for the time of a change, the thing that moves, and what is seen at a time.

        Parameters
        ----------
        grid
            Soft tokens per side of each frame.
        """
        clip, news, happened, cues = motion.shown(self.rng)
        asked = self.rng.sample(cues, len(cues))  # each once: the answer to a second one is in the row
        if self.rng.random() < _BOUND_FIRST:
            asked.sort(key=lambda cue: cue[0] not in _BOUND)
        return self._of_clip("watched", clip, news(grid), happened, asked, grid)

    def eventful(self, *, grid: int) -> Row:
        """Return a clip in which anything may happen in any frame, with short cues, and loss on the answers.

        As `watched`. Only comparing frames tells what happened (`gemma_lab.minis.tasks.eventful_clips`).
        """
        clip, frames = motion.eventful_clip(self.rng)
        cues = eventful_clips.cues(frames, [format_timestamp(at) for at in clip.times])
        news, happened = cells.changes(frames, grid), cells.events(frames)
        asked = self.rng.sample(cues, len(cues))
        asked.sort(key=lambda cue: "changes" not in cue[0])
        return self._of_clip("eventful", clip, news, happened, asked, grid)

    def pointed(self, *, grid: int) -> Row:
        """Return a question about a clip, with what its answer has to attend to, and loss on that token.

        Which shape moves is read from its soft tokens, when a colour changes from the token that ends the
        frame.

        Parameters
        ----------
        grid
            Soft tokens per side of each frame.
        """
        question = motion.pointed(self.rng)
        row = self.encoder.row(question, grid=grid)
        answer = next(at for at, label in enumerate(row.labels) if label != SKIP)
        if question.group == "when":
            answer += len(self.encoder.ids(question.answer)) - 1  # only its last digit is a question
            ends = [at for at, token in enumerate(row.ids) if token == token_id("eoi_token")]
            tokens = [at for at, one in zip(ends, row.pictures, strict=True) if one.get("happened")]
        else:
            soft = [at for at, token in enumerate(row.ids) if token == token_id("video_token")]
            moved = cells.NEWS.index("moved")
            tokens = [at for at, new in zip(soft, row.news, strict=True) if new == moved]
        row.skill = "pointed"
        row.labels = [label if at == answer else SKIP for at, label in enumerate(row.labels)]
        row.looks = [(answer - 1, tokens)] if tokens else []
        return row

    def _of_clip(
        self,
        name: str,
        clip: Clip,
        news: list[int],
        happened: list[dict[str, int]],
        cues: list[tuple[str, str]],
        grid: int,
    ) -> Row:
        """Return a clip with the first of its cues."""
        row = Row(
            name, [token_id("bos_token")], clips=[clip], news=news, pictures=timed(happened, clip.times),
            series=[len(clip.times)],
        )  # fmt: skip
        for at in clip.times:
            soft = [token_id("boi_token"), *[token_id("video_token")] * grid**2, token_id("eoi_token")]
            row.ids += [*self.encoder.ids(f"{format_timestamp(at)} "), *soft]
        row.labels = [SKIP] * len(row.ids)
        for cue, answer in cues[:_CUES]:
            before = self.encoder.ids(f" {cue}") + self._gap(none=2 / 3, part=1)
            after = self.encoder.ids(answer)
            # of a time, only the last digit is a question
            known = len(after) - 1 if answer[0].isdigit() else 0
            row.ids += [*before, *after, token_id("eot_token")]
            row.labels += [SKIP] * (len(before) + known) + after[known:] + [SKIP]
        return row

    def called(self) -> Row:
        """Return declared functions, then requests with their calls, which carry the loss.

        As `asked`, for tools: the declared name of a function is read from the declarations repeatedly, where
        a conversation needs it once. Words that the tokenizer splits differently after a space and without
        one are passed more often: 18 of 127 words caused most wrong arguments.
        """
        tools, asked = calling.called(self.rng, count=_CALLS, often=self._recut)
        row = Row("called", self.encoder.declared(tools))
        row.labels = [SKIP] * len(row.ids)
        for request, call in asked:
            before = self.encoder.ids(f"<|turn>user\n{request}") + self._gap(part=1 / 2)
            opening, *after = self.encoder.called(call)
            row.ids += [*before, opening, *after]
            row.labels += [SKIP] * (len(before) + 1) + after
        return row

    def _gap(self, *, none: float = 0.0, part: float) -> list[int]:
        """Return the part of the turn between a question and its answer.

        Parameters
        ----------
        none, part
            Probability of nothing, and of a part of random length; otherwise all of it.
        """
        turn = self.encoder.turn
        if (share := self.rng.random()) < none:
            return []
        return turn[: self.rng.randint(0, len(turn))] if share < none + part else turn

    def _looked_up(self, name: str, draw: Any, parts: Any, length: int) -> Row:
        def drawn() -> Row:
            text, again = draw(self.rng, most=self.most_facts)
            ids = [token_id("bos_token"), *self.encoder.ids(text)]
            labels = [SKIP] * len(ids)
            for before, value in again:
                prefix, given = parts(before, value)
                ids += prefix + given
                labels += [SKIP] * len(prefix) + given[:-1] + [SKIP]
            return Row(name, ids, labels)

        return filled(drawn, length)

    def _pieces(self, text: str) -> list[str]:
        """Return how the tokenizer splits a text, without the space before it."""
        pieces = self.encoder.tokenizer.tokenize(text)
        return [pieces[0].removeprefix("▁"), *pieces[1:]]

    def _single(self, words: list[str]) -> list[int]:
        """Return the words that are single tokens."""
        cut = self.encoder.tokenizer(words, add_special_tokens=False)["input_ids"]
        return [ids[0] for ids in cut if len(ids) == 1]
