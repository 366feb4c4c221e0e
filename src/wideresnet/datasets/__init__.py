"""Where labelled images come from: class folders and the CIFAR archives."""
