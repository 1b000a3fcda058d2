#include "textflag.h"

// The handlers of signals of a check that is alone. They run on any thread, and must touch nothing of Go's.

// func crashed()
TEXT ·crashed(SB),NOSPLIT|NOFRAME,$0
	MOVD	$·crashLine(SB), R1
	MOVD	·crashLineLength(SB), R2
	B	answer<>(SB)

// func late()
TEXT ·late(SB),NOSPLIT|NOFRAME,$0
	MOVD	$·lateLine(SB), R1
	MOVD	·lateLineLength(SB), R2
	B	answer<>(SB)

// answer writes R2 bytes at R1 to standard output, and ends the process with exit code 3.
TEXT answer<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	$1, R0
	MOVD	$64, R8 // write
	SVC
	MOVD	$3, R0
	MOVD	$94, R8 // exit_group
	SVC
	BRK

// func crashedAddress() uintptr
TEXT ·crashedAddress(SB),NOSPLIT,$0-8
	MOVD	$·crashed(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func lateAddress() uintptr
TEXT ·lateAddress(SB),NOSPLIT,$0-8
	MOVD	$·late(SB), R0
	MOVD	R0, ret+0(FP)
	RET
