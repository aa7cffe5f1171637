"""One reconciler a resource: a snapshot of the world, a pure decision, and the plan that it makes."""
