"""``gemma-lab serve``: a loaded model behind OpenAI's protocol, on Starlette and uvicorn.

transformers has a server, too (``transformers serve``, read in 5.24). It is not extended here: its handlers
leave out ``logprobs``, ``top_logprobs`` and ``response_format`` with a warning in its log, it loads models by
itself, and it has no token, no limit on requests and no queue. What is shared with it is below the protocol:
the model's own ``generate``.
"""
