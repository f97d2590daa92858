"""What a trained model learnt: its forget gates, how far it remembers, and which positions decide."""
