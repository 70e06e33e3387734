"""Side-by-side measures of speed, memory and accuracy: the product compared with a peer or the naive way, in one run.

Each module measures one thing. Its docstring says what is measured and compared. Ratios are
always the product's figure over the peer's: below 1 the product is faster, smaller or more accurate. Nothing here is
a test: a limit that is not met is reported, not raised. Conditions of a fair comparison (equal inputs,
equal outputs) are asserted.
"""
