"""The embedded stack for one machine: Temporal dev server, OpenCode, scripted model. Never needed in production.

Start with `stack.py` (all of it), `opencode_server.py` and `temporal_server.py` (one each), `model.py` and `script.py`
(the scripted model and what a prompt may make it do).
"""
