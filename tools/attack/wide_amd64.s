#include "textflag.h"

// func wideCall(number, a, b, c uint64) int64
TEXT ·wideCall(SB), NOSPLIT, $0-40
	MOVQ number+0(FP), AX
	MOVQ a+8(FP), DI
	MOVQ b+16(FP), SI
	MOVQ c+24(FP), DX
	SYSCALL
	MOVQ AX, ret+32(FP)
	RET
