"""Published weight sets, fetching them, and reading weights files without running their code.

    catalogue   which sets exist: URL, hash, preprocess, licence, published accuracy
    store       a set's file on this disk: cache, download, offline
    download    one file by HTTPS: resume, retries, hash
    formats     which kind of file it is, and what to do with those that are not read
    read        any weights file -> named arrays (safetensors, shards, ``.npz``, or ``.pth`` through ``pth``)
    pth         files of ``torch.save``, through ``wideresnet.unpickle``
    flatten     a checkpoint -> its tensors by dotted path, and the numbers and texts beside them
    modules     names and shapes -> layers
    blocks      layers -> residual blocks
    structure   blocks -> complete networks, whatever their layers are called
    origin      what code made a network, and so what it computes beyond shapes
    recognise   a file -> its one network under our names, and a report on the rest
    diagnose    the error for a file without one
"""
