#include "textflag.h"

// The handler runs on the signal stack of whatever thread was interrupted, so it may touch no Go state. It
// is called as C: R0 signal number, R1 *siginfo_t, R2 *ucontext_t. The kernel saved all registers, and
// the link register leads to rt_sigreturn(2) in the vDSO.
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0
	MOVW 8(R1), R3                // si_code
	CMNW $6, R3                   // SI_TKILL (-6): the runtime's, if a thread of ours sent it
	BNE  raised
	MOVW 16(R1), R3               // si_pid
	MOVW ·ownPID(SB), R4
	CMPW R4, R3
	BEQ  runtime
	B    report

raised:
	CMPW $0, R3
	BLT  report
	BGT  kernel
	MOVW 16(R1), R3               // SI_USER with our own pid: SIGPIPE or SIGXFSZ, of a write of ours
	MOVW ·ownPID(SB), R4
	CMPW R4, R3
	BNE  report
	RET

kernel:
	MOVD ·faults(SB), R4
	LSR  R0, R4, R4
	TBNZ $0, R4, runtime

report:
	SUB  $16, RSP
	MOVB R0, 0(RSP)
	MOVW ·pipeWriteEnd(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8                  // write(2)
	SVC
	CMP  $0, R0
	BGE  done
	MOVBU 0(RSP), R0              // the pipe is full
	MOVD $·missed(SB), R3
	MOVD $1, R4
	MOVB R4, (R3)(R0)

done:
	ADD  $16, RSP
	RET

runtime:
	MOVD $·runtimeHandler(SB), R3
	MOVD (R3)(R0<<3), R3
	CBZ  R3, report
	JMP  (R3)

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVD $·onSignal(SB), R0
	MOVD R0, ret+0(FP)
	RET
