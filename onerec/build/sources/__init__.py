"""Where interactions come from: public data sets in their known layouts, and tables of the user's own."""
