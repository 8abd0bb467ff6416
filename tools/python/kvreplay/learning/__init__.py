"""Token scorers and head budgets learned from traces, for kvreplay train and the live model."""
