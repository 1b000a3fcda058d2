package program

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// orphanage tells which of the orphans that this process adopts are of a Foreign program, and ends them. An orphan that
// cleared its environment does not say whose it is. It is of one of the programs that ran when it was first seen, so it is
// ended when the last of them has ended.
//
// It works in a process that adopts orphans (PR_SET_CHILD_SUBREAPER) and whose main thread starts no programs, as cmd
// arranges it: then orphans are the children of the main thread. In any other process it does nothing.
type orphanage struct {
	mu      sync.Mutex
	last    uint64              // the number of the program that began last
	running map[uint64]struct{} // programs
	seen    map[int]uint64      // of each orphan, the last program that may have left it; 0 for none
}

var adoption orphanage

// begin records that a program begins. Call end when it has ended; it returns how many orphans were ended.
func (o *orphanage) begin() (end func() int) {
	if !adopts() {
		return func() int { return 0 }
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running == nil {
		o.running = make(map[uint64]struct{})
	}
	if len(o.running) == 0 {
		o.look(0) // they are of programs that stepwatch knows
	} else {
		o.look(o.last)
	}
	o.last++
	id := o.last
	o.running[id] = struct{}{}
	return func() int { return o.end(id) }
}

// orphansTime is how long the end of a program takes at most because of orphans that fork while they are ended.
const orphansTime = 100 * time.Millisecond

func (o *orphanage) end(id uint64) (ended int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.look(o.last)
	delete(o.running, id)
	first := o.last + 1 // the running program with the lowest number
	for running := range o.running {
		first = min(first, running)
	}
	killed := make(map[int]bool)
	for deadline := time.Now().Add(orphansTime); ; {
		found := false
		for pid, program := range o.seen {
			if program == 0 || program >= first || killed[pid] {
				continue
			}
			found = true
			if killed[pid] = true; syscall.Kill(pid, syscall.SIGKILL) == nil {
				ended++
			}
		}
		if !found || time.Now().After(deadline) {
			return ended
		}
		time.Sleep(time.Millisecond)
		o.look(o.last) // the end of an orphan makes others orphans
	}
}

// look brings seen up to date. An orphan that is new may be of any program up to the given one.
func (o *orphanage) look(program uint64) {
	found := orphans()
	now := make(map[int]uint64, len(found))
	for _, pid := range found {
		now[pid] = program
		if of, known := o.seen[pid]; known {
			now[pid] = of
		}
	}
	o.seen = now
}

// adopts reports whether this process adopts orphans.
var adopts = sync.OnceValue(func() bool {
	const getChildSubreaper = 37 // PR_GET_CHILD_SUBREAPER (prctl(2))
	var is int32
	_, _, failed := syscall.RawSyscall(syscall.SYS_PRCTL, getChildSubreaper, uintptr(unsafe.Pointer(&is)), 0) //nolint:gosec // the kernel writes an int there (prctl(2))
	return failed == 0 && is == 1
})

// orphans returns the children of the main thread.
func orphans() (all []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err != nil {
		return nil // not every kernel has this file; what is left is ended with this process
	}
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			all = append(all, pid)
		}
	}
	return all
}
