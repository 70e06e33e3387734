"""Side-by-side measures of speed, memory and accuracy: the product beside a peer or the naive way, in one run.

Each module measures one thing and says in its docstring what is measured and what it is compared with. Ratios are
always the product's figure over the peer's: below 1 the product is faster, smaller or more accurate. Nothing here is
a test: a limit that is not met is written down, not raised. What must hold for a comparison to be fair (equal inputs,
equal outputs) is asserted.
"""
