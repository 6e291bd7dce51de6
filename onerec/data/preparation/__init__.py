"""From rows to a token store, once, by many processes and hosts."""
