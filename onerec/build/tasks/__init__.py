"""Rows of every task: texts for pretraining and chats for fine-tuning, from interactions, a split and ids."""
