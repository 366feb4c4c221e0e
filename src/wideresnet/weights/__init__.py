"""Published weight sets, fetching them, and reading weights files without running their code.

    catalogue   which sets exist: URL, hash, preprocess, licence, published accuracy
    store       a set's file on this disk: cache, download, offline
    download    one file by HTTPS: resume, retries, hash
    formats     which kind of file it is, and what to do with those that are not read
    read        any weights file -> named arrays (safetensors, shards, ``.npz``, or ``.pth`` through ``pth``)
    pth         files of ``torch.save``, through ``wideresnet.unpickle``
    flatten     a checkpoint -> its tensors by dotted path, and the numbers and texts beside them
    schemes     other people's key names -> ours
    keymaps     named arrays -> exactly the tensors of an architecture
    guess       named arrays -> which architecture they are
"""
