"""The collector: removes what has expired, what nobody uses, and what was left half done."""
