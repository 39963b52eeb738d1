#include "textflag.h"

// The handler runs on the signal stack of whatever thread was interrupted, so it may touch no Go state. It
// is called as C: DI signal number, SI *siginfo_t, DX *ucontext_t. The kernel saved all registers.
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0
	MOVL 8(SI), AX                // si_code
	CMPL AX, $-6                  // SI_TKILL: the runtime's, if a thread of ours sent it
	JNE  raised
	MOVL 16(SI), AX               // si_pid
	CMPL AX, ·ownPID(SB)
	JEQ  runtime
	JMP  report

raised:
	CMPL AX, $0
	JLT  report
	JGT  kernel
	MOVL 16(SI), AX               // SI_USER with our own pid: SIGPIPE or SIGXFSZ, of a write of ours
	CMPL AX, ·ownPID(SB)
	JNE  report
	RET

kernel:
	MOVQ ·faults(SB), R8
	BTQ  DI, R8
	JCS  runtime

report:
	SUBQ $16, SP
	MOVB DI, 0(SP)
	MOVL ·pipeWriteEnd(SB), DI
	MOVQ SP, SI
	MOVL $1, DX
	MOVL $1, AX                   // write(2)
	SYSCALL
	CMPQ AX, $0
	JGE  done
	MOVBQZX 0(SP), AX             // the pipe is full
	LEAQ ·missed(SB), R8
	MOVB $1, (R8)(AX*1)

done:
	ADDQ $16, SP
	RET

runtime:
	LEAQ ·runtimeHandler(SB), R8
	MOVQ (R8)(DI*8), AX
	TESTQ AX, AX
	JEQ  report
	JMP  AX

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	LEAQ ·onSignal(SB), AX
	MOVQ AX, ret+0(FP)
	RET
