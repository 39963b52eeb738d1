#include "textflag.h"

// onSIGPROF runs on the signal stack of whatever thread was interrupted and may touch no Go state. The
// kernel saved all registers in the signal frame.
TEXT ·onSIGPROF(SB), NOSPLIT|NOFRAME, $0
	MOVL ·profPipe(SB), DI
	LEAQ ·profByte(SB), SI
	MOVL $1, DX
	MOVL $1, AX // write(2)
	SYSCALL
	RET

TEXT ·sigreturn(SB), NOSPLIT|NOFRAME, $0
	MOVL $15, AX // rt_sigreturn(2)
	SYSCALL
	INT  $3

// func profHandler() (handler, restorer uintptr)
TEXT ·profHandler(SB), NOSPLIT, $0-16
	LEAQ ·onSIGPROF(SB), AX
	MOVQ AX, handler+0(FP)
	LEAQ ·sigreturn(SB), AX
	MOVQ AX, restorer+8(FP)
	RET
