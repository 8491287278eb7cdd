"""What answers chats, on Ray Serve. Its engines come with the chat task."""
