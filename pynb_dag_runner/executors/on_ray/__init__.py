"""What both executors on Ray stand on: connecting to a Ray and leaving it, its store, and what runs in its workers.

It may import the executors' seam, hosts, processes and, alone, Ray; it must not know tasks, runs or folders.
"""
