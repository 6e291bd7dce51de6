"""The items that a model may name: their ids, the trie of these, and the pure step of a search in it."""
