"""Learning from answers of its own: questions, answers drawn and judged, rows to train on.

`feed.py` is the loop's Feed; `judging.py` asks questions and has answers judged; `drawing.py` asks
an engine, turn after turn; `drawn.py` keeps what came; `scoring.py` opens the rewards.
"""
