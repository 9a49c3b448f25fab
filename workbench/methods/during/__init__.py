"""Methods that prune while a network trains, a file each: what each gives to `wb.steps`."""
