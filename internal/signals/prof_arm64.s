#include "textflag.h"

// onSIGPROF runs on the signal stack of whatever thread was interrupted and may touch no Go state. The
// kernel saved all registers in the signal frame; the link register leads to rt_sigreturn(2) in the vDSO.
TEXT ·onSIGPROF(SB), NOSPLIT|NOFRAME, $0
	MOVW ·profPipe(SB), R0
	MOVD $·profByte(SB), R1
	MOVD $1, R2
	MOVD $64, R8 // write(2)
	SVC
	RET

// func profHandler() (handler, restorer uintptr)
TEXT ·profHandler(SB), NOSPLIT, $0-16
	MOVD $·onSIGPROF(SB), R0
	MOVD R0, handler+0(FP)
	MOVD ZR, restorer+8(FP)
	RET
