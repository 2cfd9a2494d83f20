"""What a user wrote, checked before anything runs: parameters, wiring, and everything that a task needs.

It may import values, secrets, notebooks and what executors offer; it must not know how a run goes.
"""
