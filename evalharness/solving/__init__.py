"""How a rollout of each form goes: solvers, and the small worlds that they are played in."""
