"""The test kit of a plugin's author: fakes, fault plans, fixtures, contract suites.

Nothing is imported here, because pytest loads this package into every run. Import from
`routerd.testing.context` (`make_context`), `.clock`, `.kernel`, `.tables`, `.faults`, `.fakes` and
`.contracts`. The suites need the extra `routerd[testing]`.

Added in 1.0.
"""
