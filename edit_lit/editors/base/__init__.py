"""What every kind of editor uses: the contract, batches, update constraints and the weights under edit."""
