package signals

const saRestorer = 0x04000000 // arch/x86/include/uapi/asm/signal.h: required on x86-64
