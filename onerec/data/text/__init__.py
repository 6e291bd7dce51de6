"""From a row to token ids and the spans of them that are trained."""
