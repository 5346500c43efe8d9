"""Results that other load generators saved, as runs.

A reader is a module with ``recognizes``, which looks at fields, and ``read``; it is entered in
:mod:`.readers`. It turns each request into an :class:`~.answers.Answer`, from which :mod:`.cases`
makes the same records and figures as our own cases have.
"""
