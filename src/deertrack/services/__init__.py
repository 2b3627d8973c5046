"""What happens in which order: transactions, retries, progress. Calls the rooms below."""
