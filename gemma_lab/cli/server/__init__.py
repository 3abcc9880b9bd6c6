"""``gemma-lab serve``: a loaded model behind OpenAI's protocol, on Starlette and uvicorn.

transformers has a server, too (``transformers serve``, read in 5.24). It is not extended here: its handlers warn
about ``logprobs``, ``response_format`` and ``tool_choice`` and leave them out, it loads models by itself, and it
has no token, no limits and no queue. What is shared with it is below the protocol: the model's own `generate`.
"""
