"""Streams: the same answer piece by piece, and a thread that always ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import wraps

import pytest
import regex

from gemma_lab import LabError


def answering() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gemma_lab answer"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    limit = time.monotonic() + 5
    while answering() and time.monotonic() < limit:
        time.sleep(0.01)
    assert not answering()


@pytest.fixture
def lab(tiny_lab):
    return tiny_lab("26B-A4B")


def test_chunks_join_to_the_reply_of_chat(lab):
    with lab.stream("Hi", seed=8, max_new_tokens=40) as stream:
        chunks = list(stream)
    assert stream.reply == lab.chat("Hi", seed=8, max_new_tokens=40)
    assert tuple(token for chunk in chunks for token in chunk.tokens) == stream.reply.tokens
    assert "".join(chunk.text for chunk in chunks if chunk.kind == "text") == stream.reply.text
    assert len(chunks) > 5
    clusters = [cluster for chunk in chunks for cluster in regex.findall(r"\X", chunk.text)]
    assert clusters == regex.findall(r"\X", stream.reply.text)


def test_nothing_runs_until_it_is_read(lab):
    stream = lab.stream("Hi")
    assert not answering()
    assert repr(stream) == "Stream(not started)"
    with pytest.raises(LabError, match="still"):
        _ = stream.reply
    stream.stop()
    assert (stream.reply.finish_reason, stream.reply.text) == ("stopped", "")
    assert repr(stream) == "Stream(over)"
    assert list(stream) == []


@pytest.fixture
def slow(lab, monkeypatch):
    """A model that takes its time over each token, and never ends its turn."""
    forward = type(lab.model).forward

    @wraps(forward)  # generate reads the signature
    def slowly(self, *args, **kwargs):
        time.sleep(0.02)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lab.model), "forward", slowly)
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", [1])
    monkeypatch.setattr(lab.model.generation_config, "suppress_tokens", [1])
    return lab


def test_leaving_the_loop_stops_the_model(slow):
    stream = slow.stream("Hi", max_new_tokens=2000)
    for chunk in stream:
        assert chunk.tokens
        break
    assert not answering()
    assert stream.reply.finish_reason == "stopped"
    assert 0 < len(stream.reply.tokens) < 2000
    assert slow.last_reply == stream.reply


def test_an_exception_in_the_loop_stops_the_model(slow):

    def fail():
        with slow.stream("Hi", max_new_tokens=2000) as stream:
            for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not answering()
    assert slow.last_reply.finish_reason == "stopped"


@pytest.fixture
def interruptible():
    """A run started in the background ignores SIGINT, and so would Python; a notebook's kernel does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_waiting_stops_the_model(slow):
    stream = iter(slow.stream("Hi", max_new_tokens=2000))
    next(stream)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert slow.last_reply.finish_reason == "stopped"
    assert slow.last_reply.tokens


def test_another_thread_can_stop_it(slow):
    for how in ("method", "event"):
        event = threading.Event()
        stream = slow.stream("Hi", max_new_tokens=2000, stop=event)
        stopper = threading.Thread(target=stream.stop if how == "method" else event.set)
        for _ in stream:
            if stopper.ident is None:
                stopper.start()
        stopper.join()
        assert stream.reply.finish_reason == "stopped"
        assert 0 < len(stream.reply.tokens) < 2000


def test_a_long_prefill_can_be_left_between_two_layers(lab, monkeypatch):
    layers = lab.model.get_decoder().layers
    seen = []
    forward = type(layers[0]).forward

    @wraps(forward)  # generate reads the signature
    def slowly(self, *args, **kwargs):
        seen.append(1)
        time.sleep(0.2)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(layers[0]), "forward", slowly)
    stream = lab.stream("Hi")
    threading.Timer(0.3, stream.stop).start()
    assert list(stream) == []
    assert len(seen) < len(layers)
    assert (stream.reply.finish_reason, stream.reply.tokens) == ("stopped", ())


def test_a_stream_that_is_dropped_ends(slow):
    stream = slow.stream("Hi", max_new_tokens=2000)
    next(stream)
    assert answering()
    del stream  # the fixture waits for the thread


def test_one_generation_at_a_time(slow):
    first = slow.stream("Hi", max_new_tokens=10, seed=1)
    next(first)
    second = slow.chat("Hi", max_new_tokens=10, seed=1)  # waits for the first
    list(first)
    assert first.reply == second


def test_an_error_of_the_model_is_raised_where_the_stream_is_read(lab, monkeypatch):
    forward, seen = type(lab.model).forward, []

    @wraps(forward)
    def broken(self, *args, **kwargs):
        seen.append(1)
        if len(seen) == 4:
            raise RuntimeError("shapes cannot be multiplied")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lab.model), "forward", broken)
    stream = lab.stream("Hi", seed=8, max_new_tokens=40)
    assert next(stream).tokens
    with pytest.raises(RuntimeError, match="multiplied"):
        list(stream)
    assert len(lab.last_reply.tokens) == 3
    assert not lab.lock.locked()
