"""Methods that prune while a network trains: each gives `wb.steps` its masks, update or loss. A method is a file here."""
