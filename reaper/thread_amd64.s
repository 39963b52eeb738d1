//go:build linux

#include "go_asm.h"
#include "textflag.h"

#define SYS_write 1
#define SYS_clone 56
#define SYS_futex 202
#define SYS_waitid 247

#define EINTR 4
#define P_ALL 0
#define P_PID 1
#define WNOHANG 1
#define WEXITED 4
#define WNOWAIT 0x1000000
#define FUTEX_WAIT_PRIVATE 128

// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM
#define CLONE_FLAGS 0x50f00

// The thread: R15 is the state that it shares with the watcher, R12 the pid of the dead child. It never runs Go. A system
// call changes RAX, RCX and R11 only.
TEXT ·run(SB), NOSPLIT|NOFRAME, $0
	LEAQ ·theThread(SB), R15

watch:
	MOVL $SYS_waitid, AX
	MOVL $P_ALL, DI
	XORL SI, SI
	LEAQ thread_info(R15), DX
	MOVL $(WEXITED|WNOWAIT), R10
	XORL R8, R8
	SYSCALL
	CMPQ AX, $-EINTR
	JEQ  watch
	MOVL $1, BX
	XCHGL BX, thread_busy(R15)    // a barrier too: the look at leave comes after it
	TESTQ AX, AX
	JNE  report                   // ECHILD
	CMPL thread_leave(R15), $0
	JEQ  report
	MOVL (thread_info+childInfo_pid)(R15), R12
	XORL CX, CX

compare:
	CMPL thread_kept(R15)(CX*4), R12
	JEQ  report
	INCL CX
	CMPL CX, $const_maxKept
	JLT  compare

	MOVL $SYS_waitid, AX
	MOVL $P_PID, DI
	MOVL R12, SI
	MOVL $(WEXITED|WNOHANG), R10
	SYSCALL
	TESTQ AX, AX
	JNE  report
	CMPL (thread_info+childInfo_pid)(R15), R12
	JNE  report
	INCQ thread_reaped(R15)
	XORL BX, BX
	XCHGL BX, thread_busy(R15)
	JMP  watch

report:
	MOVL $1, thread_told(R15)
	XORL BX, BX
	XCHGL BX, thread_busy(R15)
	MOVL $SYS_write, AX
	MOVL thread_event(R15), DI
	LEAQ thread_one(R15), SI
	MOVL $8, DX
	SYSCALL

sleep:
	CMPL thread_told(R15), $0
	JEQ  watch
	MOVL $SYS_futex, AX
	LEAQ thread_told(R15), DI
	MOVL $FUTEX_WAIT_PRIVATE, SI
	MOVL $1, DX
	XORL R10, R10
	SYSCALL
	JMP  sleep

// func clone(stack uintptr) int
TEXT ·clone(SB), NOSPLIT, $0-16
	MOVL $SYS_clone, AX
	MOVL $CLONE_FLAGS, DI
	MOVQ stack+0(FP), SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JNE  parent
	JMP  ·run(SB)

parent:
	MOVQ AX, ret+8(FP)
	RET
