"""Where labelled pictures come from: class folders and the CIFAR archives."""
