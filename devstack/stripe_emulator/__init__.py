"""A Stripe that runs on this machine: stateful, unkind, and a stranger to the rest of the repository.

It imports nothing of ours, so that its totals come only from the requests it received and can judge us.
"""
