"""Restore a model's hooks, configurations, locks and gradient mode, even after an interrupt.

The undo action of each change is registered with a `RestoreStack` *before* the change is made, so every
change that exists can be undone. An undo action may run twice: one that is interrupted is repeated. Three
measures make restoring itself safe:

- While a stack is being closed, ``SIGINT`` (Ctrl-C, JupyterLab's Stop button) is held, and delivered when the
  stack is empty. Signals are handled in the main thread only.
- Another asynchronous exception, in any thread (``PyThreadState_SetAsyncExc``, a debugger), may end an
  attempt; `contextlib.ExitStack` then runs its next callback, and three callbacks close the list.
- A function decorated with `restores_model` closes the stacks that it and its callees left open, and begins
  by closing those left by calls that are no longer running.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from inspect import currentframe
from types import CodeType, FrameType
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

P = ParamSpec("P")
T = TypeVar("T")

#: Where ``torch.nn.Module`` keeps hooks, and the options of each.
_HOOKS = {
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
}
#: How often an undo action is tried, and a list of them closed.
_ATTEMPTS = 3
#: Seconds between two attempts to take a lock that another holder has.
_POLL = 0.01


class RestoreStack(ExitStack):
    """Stack of undo actions that run, last change first, when a ``with`` block ends.

    Register an action with `undo` (or `hook`, `set_attribute`, `hold`) before the change. Closing the stack
    twice, or after it was entered only in part, is safe.

    Examples
    --------
    >>> with RestoreStack() as restore:
    ...     restore.hold(model.lock)
    ...     restore.hook(layer, watch)
    ...     run()
    """

    def __init__(self) -> None:
        super().__init__()
        self._undo: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.finished = False  # True once everything is restored and interrupts are delivered again

    def __enter__(self) -> Self:
        return self.apply(self._begin)  # one line: no interrupt between the changes and the block

    def _begin(self) -> Self:
        """Enter, and in subclasses make the first changes."""
        self.finished = False
        # the last callback runs first; one that is interrupted is followed by the next
        for _ in range(_ATTEMPTS):
            self.callback(_SIGINT.release, self)
        self.callback(self._deliver)
        for _ in range(_ATTEMPTS):
            self.callback(self.put_back)
        outer = getattr(_THREAD, "running", None)
        if outer is not None and outer is not self:
            outer.undo(self.close)
        _SIGINT.take(self)
        return self

    def undo(self, action: Callable[..., Any], *args: Any) -> None:
        """Register the undo action of the next change; `action` may run more than once."""
        self._undo.append((action, args))

    def hook(
        self, module: Any, function: Callable[..., Any], *, before: bool = False, **options: Any
    ) -> None:
        """Register a forward hook, or with `before` a forward pre-hook, on a module.

        Parameters
        ----------
        module, function, options
            As for ``torch.nn.Module.register_forward_hook``. A function can be on a module once.
        """
        self.undo(remove_hook, module, function)
        register = module.register_forward_pre_hook if before else module.register_forward_hook
        register(function, **options)

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute for the length of the block."""
        self.undo(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def hold(self, lock: ModelLock, *, until: Callable[[], bool] | None = None) -> bool:
        """Wait for a lock and hold it for the length of the block; return False if `until` became true."""
        holder = _Holder()
        self.undo(lock.drop, holder)
        return lock.take(holder, until=until)

    def apply(self, change: Callable[[], T]) -> T:
        """Make changes while entering the block; if they fail or are interrupted, undo them and raise."""
        try:
            try:
                return change()
            except BaseException:
                self.close()
                raise
        except BaseException:
            self.close()
            raise

    def put_back(self) -> None:
        """Run every registered undo action, last change first; closing the stack calls this."""
        error: BaseException | None = None
        while self._undo:
            action, args = self._undo[-1]
            for _ in range(_ATTEMPTS):
                try:
                    action(*args)
                    break
                except BaseException as raised:
                    error = raised
            self._undo.pop()
        if error is not None:
            raise error

    def _deliver(self) -> None:
        self.finished = True
        _SIGINT.deliver()


class _Holder:
    """Holder of a `ModelLock`, with its thread."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


class ModelLock:
    """Lock that is acquired and records its holder in one atomic step.

    No interrupt can separate the two, and `drop` releases the lock only if the given holder has it. It has
    the interface of ``threading.Lock``, too.
    """

    def __init__(self) -> None:
        self._holder: dict[str, object] = {}

    def take(self, holder: object, *, until: Callable[[], bool] | None = None) -> bool:
        """Acquire the lock for `holder`, waiting for it; return False if `until` became true before."""
        while self._holder.setdefault("holder", holder) is not holder:
            if until is not None and until():
                return False
            time.sleep(_POLL)
        return True

    def held_by_this_thread(self) -> bool:
        """Return whether this thread holds the lock, through `RestoreStack.hold` or `acquire`."""
        holder = self._holder.get("holder")
        return isinstance(holder, _Holder) and holder.thread == threading.get_ident()

    def drop(self, holder: object) -> None:
        """Release the lock if `holder` has it."""
        if self._holder.get("holder") is holder:
            del self._holder["holder"]

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock as ``threading.Lock.acquire`` does."""
        end = time.monotonic() + timeout if timeout >= 0 else float("inf")
        return self.take(_Holder(), until=lambda: not blocking or time.monotonic() >= end)

    def release(self) -> None:
        """Release the lock, whoever holds it."""
        if self._holder.pop("holder", None) is None:
            raise RuntimeError("release unlocked lock")

    def locked(self) -> bool:
        """Return whether the lock is held."""
        return bool(self._holder)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def remove_hook(module: Any, function: Callable[..., Any]) -> None:
    """Remove a function from a module's forward hooks and pre-hooks, if it is there."""
    state = vars(module)
    for name, flags in _HOOKS.items():
        for key in [key for key, hook in state[name].items() if hook == function]:
            for flag in flags:
                state[flag].pop(key, None)
            state[name].pop(key, None)


def hooks_of(module: Any) -> list[Callable[..., Any]]:
    """Return the forward hooks and pre-hooks of a module."""
    return [hook for name in _HOOKS for hook in vars(module)[name].values()]


def restores_model(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that all its changes to a model are undone when it ends.

    It closes every `RestoreStack` that was entered during the call and left open, sets torch's gradient mode
    to what it was, and begins by closing what calls that are no longer running left.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        outer, stack = getattr(_THREAD, "running", None), RestoreStack()
        try:
            try:
                try:
                    put_back_leftovers()
                    _RUNNING[stack] = currentframe()
                    stack.__enter__()
                    _keep_gradient_mode(stack)
                    _THREAD.running = stack
                    return function(*args, **kwargs)
                finally:
                    _end(stack, outer)
            finally:
                _end(stack, outer)
        finally:
            _end(stack, outer)

    return call


def put_back_leftovers() -> None:
    """Close the stacks of calls that are no longer running because something ended them abnormally."""
    if not _RUNNING:
        return
    frames: set[FrameType] = set()
    for top in sys._current_frames().values():  # noqa: SLF001 — documented in the library reference
        frame: FrameType | None = top
        while frame is not None:
            frames.add(frame)
            frame = frame.f_back
    for stack, started_in in list(_RUNNING.items()):
        if started_in not in frames:
            stack.close()
            _RUNNING.pop(stack, None)


def interruptible(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a wait so that an interrupt can end it even while a stack is being closed."""
    _INTERRUPTIBLE.add(function.__code__)
    return function


def _end(stack: RestoreStack, outer: RestoreStack | None) -> None:
    _THREAD.running = outer
    stack.close()
    _RUNNING.pop(stack, None)


def _keep_gradient_mode(stack: RestoreStack) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        stack.undo(torch.set_grad_enabled, torch.is_grad_enabled())


class _InterruptHandler:
    """The handler of SIGINT while any stack is open in the main thread."""

    def __init__(self) -> None:
        self._previous: Callable[[int, FrameType | None], Any] = signal.default_int_handler
        self._open: WeakSet[RestoreStack] = WeakSet()
        self._pending = False

    def take(self, stack: RestoreStack) -> None:
        """Start to handle SIGINT, if this is the main thread and its handler is a Python function."""
        if threading.current_thread() is not threading.main_thread():
            return
        current = signal.getsignal(signal.SIGINT)
        if current != self._handle and callable(current):
            self._pending = False
            self._previous = current
            signal.signal(signal.SIGINT, self._handle)
        self._open.add(stack)

    def release(self, stack: RestoreStack) -> None:
        """Restore the previous handler of SIGINT when no other stack is open."""
        self._open.discard(stack)
        if threading.current_thread() is not threading.main_thread():
            return
        if all(other.finished for other in self._open) and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._previous)

    def deliver(self) -> None:
        """Raise the interrupt that was held, unless a stack further out is still being closed."""
        if self._pending and threading.current_thread() is threading.main_thread():
            frame = currentframe()
            if not _is_held(frame):
                self._pending = False
                self._previous(signal.SIGINT, frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _is_held(frame):
            self._pending = True
        else:
            self._previous(number, frame)


def _is_held(frame: FrameType | None) -> bool:
    """Return whether a frame runs on behalf of a stack that is being closed."""
    while frame is not None:
        if frame.f_code in _INTERRUPTIBLE:
            return False
        if frame.f_code is _CLOSING:
            stack = frame.f_locals.get("self")
            if isinstance(stack, RestoreStack) and not stack.finished:
                return True
        frame = frame.f_back
    return False


#: The code that closes a stack: from its first instruction on, interrupts are held.
_CLOSING: CodeType = ExitStack.__exit__.__code__
_INTERRUPTIBLE: set[CodeType] = set()
_SIGINT = _InterruptHandler()
#: The stack of the innermost decorated call of each thread.
_THREAD = threading.local()
#: The stacks of all decorated calls that run now, and the frames that they were started in.
_RUNNING: dict[RestoreStack, FrameType | None] = {}
