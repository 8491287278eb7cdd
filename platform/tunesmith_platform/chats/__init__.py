"""Chats: names of models that answer, the tasks that serve them, and questions to them."""
