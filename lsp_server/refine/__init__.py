"""The refinement loop: a task goes in, rounds of reply, candidate, report and verdict come out."""
