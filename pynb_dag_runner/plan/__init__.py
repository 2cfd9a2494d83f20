"""Which tasks may run now, and which need not run: decisions over values, without a clock or a file of their own.

It may import values, notebooks' text and the records of a run folder; it must not know executors or workers.
"""
