#include "textflag.h"

// The handlers of signals of a check that is alone. They run on any thread, and must touch nothing of Go's.

// func crashed()
TEXT ·crashed(SB),NOSPLIT|NOFRAME,$0
	LEAQ	·crashLine(SB), SI
	MOVQ	·crashLineLength(SB), DX
	JMP	answer<>(SB)

// func late()
TEXT ·late(SB),NOSPLIT|NOFRAME,$0
	LEAQ	·lateLine(SB), SI
	MOVQ	·lateLineLength(SB), DX
	JMP	answer<>(SB)

// answer writes DX bytes at SI to standard output, and ends the process with exit code 3.
TEXT answer<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	$1, DI
	MOVQ	$1, AX // write
	SYSCALL
	MOVQ	$3, DI
	MOVQ	$231, AX // exit_group
	SYSCALL
	INT	$3

// func crashedAddress() uintptr
TEXT ·crashedAddress(SB),NOSPLIT,$0-8
	LEAQ	·crashed(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func lateAddress() uintptr
TEXT ·lateAddress(SB),NOSPLIT,$0-8
	LEAQ	·late(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
