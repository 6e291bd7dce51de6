"""The runner: a manifest compiled to exact commands, executed, watched and recorded."""
