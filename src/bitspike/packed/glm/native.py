"""The native engine of networks of circuits."""
