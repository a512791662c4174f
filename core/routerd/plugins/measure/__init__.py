"""Measures a plugin's distribution: which grade it reaches, and what it lacks for the next.

`project` finds the distribution and its tests, `suites` runs its contract suites in a process of their
own, `documented` reads its docs, and `grades` judges. Nothing here imports pytest or the test kit.
"""
