"""Which of several framework processes leads."""
