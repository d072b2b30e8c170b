"""Gavel's judges and rewards from Python.

>>> from gavel import Judge
>>> with Judge("runs/mine") as judge:
...     judge.judge("2 + 2?", "4", "5").verdict
'A'

A folder is served by the program, which is started on a free port of this machine and ends with this process; a service that
runs already is named by its address: Judge(url="https://judge.example", token="...").
"""

from gavel.client import GavelError, Judge, Reward, Verdict
from gavel.program import find_program

__all__ = ["GavelError", "Judge", "Reward", "Verdict", "find_program"]
