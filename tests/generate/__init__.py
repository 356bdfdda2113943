"""Random networks of all operators, built in several ways and compared with the oracle; what fails is made small.

    python -m tests.generate --count 2000 --seed 0

`cases` says which network a seed stands for, `ways` how it is built and compared, `minimize` makes a failing one small.
"""
