//go:build linux

#include "go_asm.h"
#include "textflag.h"

#define SYS_write 64
#define SYS_waitid 95
#define SYS_futex 98
#define SYS_clone 220

#define EINTR 4
#define P_ALL 0
#define P_PID 1
#define WNOHANG 1
#define WEXITED 4
#define WNOWAIT 0x1000000
#define FUTEX_WAIT_PRIVATE 128

// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM
#define CLONE_FLAGS 0x50f00

// The thread: R19 is the state that it shares with the watcher, R20 the pid of the dead child. It never runs Go. A system
// call changes R0 only.
TEXT ·run(SB), NOSPLIT|NOFRAME, $0
	MOVD $·theThread(SB), R19
	MOVD $1, R21

watch:
	MOVD $P_ALL, R0
	MOVD ZR, R1
	ADD  $thread_info, R19, R2
	MOVD $(WEXITED|WNOWAIT), R3
	MOVD ZR, R4
	MOVD $SYS_waitid, R8
	SVC
	CMN  $EINTR, R0
	BEQ  watch
	ADD  $thread_busy, R19, R9
	STLRW R21, (R9)
	DMB  $0xb                     // the look at leave comes after it
	CBNZ R0, report               // ECHILD
	ADD  $thread_leave, R19, R10
	LDARW (R10), R11
	CBZW R11, report
	MOVW (thread_info+childInfo_pid)(R19), R20
	ADD  $thread_kept, R19, R10
	MOVD $const_maxKept, R11

compare:
	MOVW.P 4(R10), R12
	CMPW R12, R20
	BEQ  report
	SUBS $1, R11
	BNE  compare

	MOVD $P_PID, R0
	MOVD R20, R1
	ADD  $thread_info, R19, R2
	MOVD $(WEXITED|WNOHANG), R3
	MOVD ZR, R4
	MOVD $SYS_waitid, R8
	SVC
	CBNZ R0, report
	MOVW (thread_info+childInfo_pid)(R19), R10
	CMPW R10, R20
	BNE  report
	ADD  $thread_reaped, R19, R10
	MOVD (R10), R11
	ADD  $1, R11
	STLR R11, (R10)
	STLRW ZR, (R9)
	B    watch

report:
	ADD  $thread_told, R19, R10
	STLRW R21, (R10)
	STLRW ZR, (R9)
	MOVW thread_event(R19), R0
	ADD  $thread_one, R19, R1
	MOVD $8, R2
	MOVD $SYS_write, R8
	SVC

sleep:
	ADD  $thread_told, R19, R10
	LDARW (R10), R11
	CBZW R11, watch
	MOVD R10, R0
	MOVD $FUTEX_WAIT_PRIVATE, R1
	MOVD $1, R2
	MOVD ZR, R3
	MOVD $SYS_futex, R8
	SVC
	B    sleep

// func clone(stack uintptr) int
TEXT ·clone(SB), NOSPLIT, $0-16
	MOVD $CLONE_FLAGS, R0
	MOVD stack+0(FP), R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $SYS_clone, R8
	SVC
	CBNZ R0, parent
	B    ·run(SB)

parent:
	MOVD R0, ret+8(FP)
	RET
