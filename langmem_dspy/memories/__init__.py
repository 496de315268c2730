"""Flow 1: conversations become typed memories, kept in any store and found again."""
