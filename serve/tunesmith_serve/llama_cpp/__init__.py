"""llama.cpp as an engine: a process of its own that holds one model in F16 and its adapters, and the side that asks it.

Of the wheel `xllamacpp` the C library is used, not the HTTP server that it brings: that one takes no adapter once it
runs, sends no token whose bytes end inside a character, ends answers by its own list of tokens, and counts the prompt
for a presence penalty. `tunesmith_jobs.models.llama_cpp` calls C; `slots` and `process`
run beside it; `child` and `engine` are on our side.
"""

from tunesmith_serve.llama_cpp.engine import LlamaCpp

__all__ = ["LlamaCpp"]
