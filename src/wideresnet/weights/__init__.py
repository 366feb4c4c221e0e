"""Published weight sets, fetching them, and reading weights files without running their code.

    catalogue   which sets exist: URL, hash, preprocess, licence, published accuracy
    store       a set's file on this disk: cache, download, offline
    download    one file by HTTPS: resume, retries, hash
    read        any weights file -> named arrays (safetensors, or ``.pth`` through ``pth`` and ``wideresnet.unpickle``)
    schemes     other people's key names -> ours
    keymaps     named arrays -> exactly the tensors of an architecture
    guess       named arrays -> which architecture they are
"""
