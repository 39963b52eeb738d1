package signals

const saRestorer = 0 // the kernel's vDSO ends the handler
