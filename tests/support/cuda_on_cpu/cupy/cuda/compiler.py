class CompileException(Exception):
    def __init__(self, msg, source, name, options, backend="nvrtc"):
        super().__init__(msg)
        self.source = source
        self.name = name
        self.options = options
        self.backend = backend

    def get_message(self):
        return str(self)
