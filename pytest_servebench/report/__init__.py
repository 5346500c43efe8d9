"""Reports for people: tables in the terminal, a summary as text, plots, a page.

Everything here is a pure function of a run; :mod:`pytest_servebench.report.outputs` is the list.
"""
